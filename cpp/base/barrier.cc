// SPDX-License-Identifier: MIT
#include "base/barrier.h"

#if defined(__linux__)
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <climits>
#include <ctime>
#endif
#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#endif

namespace unrolled {
namespace {

inline void pause() {
#if defined(__x86_64__) || defined(_M_X64)
  _mm_pause();
#elif defined(__aarch64__) && !defined(_MSC_VER)
  __asm__ volatile("yield");
#endif
}

// std::atomic's own wait yields before it sleeps, which costs a time slice on a busy machine.
// `wakes`: after some milliseconds also without a change, where the system can.
void sleep_while(std::atomic<std::uint32_t>& word, std::uint32_t value, bool wakes) {
#if defined(__linux__)
  const timespec some_milliseconds{0, 20'000'000};
  syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, value, wakes ? &some_milliseconds : nullptr, nullptr, 0);
#else
  (void)wakes;
  word.wait(value);
#endif
}

void wake_all(std::atomic<std::uint32_t>& word) {
#if defined(__linux__)
  syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
#else
  word.notify_all();
#endif
}

constexpr int kPausesBeforeSleep = 1000;

}  // namespace

void Barrier::stop_by(Stop* stop) {
  stop_ = stop;
  is_stopped_.store(false, std::memory_order_relaxed);
}

bool Barrier::wait(int index) {
  Flag& own = flags_[static_cast<std::size_t>(index)];
  const std::uint32_t epoch = own.epoch.load(std::memory_order_relaxed) + 1;
  const bool asks = index == 0 && stop_ != nullptr;
  if (asks && !is_stopped_.load(std::memory_order_relaxed) && stop_->poll()) {
    stopped_at_.store(epoch, std::memory_order_relaxed);
    is_stopped_.store(true, std::memory_order_release);
  }
  // Sequentially consistent, as below: either this thread sees the sleeper or the sleeper sees the epoch.
  own.epoch.store(epoch);
  if (own.sleepers.load() > 0) wake_all(own.epoch);
  for (int other = 0; other < size_; ++other) {
    Flag& flag = flags_[static_cast<std::size_t>(other)];
    // The difference is signed: another thread may already be in the next wait.
    const auto has_come = [epoch](std::uint32_t seen) {
      return static_cast<std::int32_t>(seen - epoch) >= 0;
    };
    bool is_waiting = true;
    for (int pauses = 0; is_waiting && pauses < kPausesBeforeSleep; ++pauses) {
      is_waiting = !has_come(flag.epoch.load(std::memory_order_acquire));
      if (is_waiting) pause();
    }
    if (!is_waiting) continue;
    flag.sleepers.fetch_add(1);
    for (std::uint32_t seen; !has_come(seen = flag.epoch.load());) {
      sleep_while(flag.epoch, seen, asks);
      // The others see the answer between two waits and come sooner; the next wait tells the team.
      if (asks) (void)stop_->poll();
    }
    flag.sleepers.fetch_sub(1);
  }
  if (!is_stopped_.load(std::memory_order_acquire)) return false;
  return static_cast<std::int32_t>(epoch - stopped_at_.load(std::memory_order_relaxed)) >= 0;
}

}  // namespace unrolled
