// SPDX-License-Identifier: MIT
#include "base/barrier.h"

#include <thread>

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

constexpr int kPausesBeforeYield = 400;

}  // namespace

void Barrier::wait(int index) {
  std::atomic<std::uint32_t>& own = flags_[static_cast<std::size_t>(index)].epoch;
  const std::uint32_t epoch = own.load(std::memory_order_relaxed) + 1;
  own.store(epoch, std::memory_order_release);
  for (int other = 0; other < size_; ++other) {
    const std::atomic<std::uint32_t>& flag = flags_[static_cast<std::size_t>(other)].epoch;
    // The difference is signed: another thread may already be in the next wait.
    for (int pauses = 0; static_cast<std::int32_t>(flag.load(std::memory_order_acquire) - epoch) < 0;) {
      if (++pauses < kPausesBeforeYield) {
        pause();
      } else {
        std::this_thread::yield();
      }
    }
  }
}

}  // namespace unrolled
