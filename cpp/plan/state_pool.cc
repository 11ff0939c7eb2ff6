// SPDX-License-Identifier: MIT
#include "plan/state_pool.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <new>
#include <thread>

#if defined(__GLIBC__)
#include <malloc.h>
#endif
#if !defined(_WIN32)
#include <signal.h>
#endif

namespace unrolled {
namespace {

// What a pool keeps for ever, and states too small to count.
constexpr Index kKeptBytes = 8 << 20;
constexpr Index kSmallBytes = 64 << 10;
constexpr std::size_t kMostSmall = 64;
constexpr auto kTick = std::chrono::milliseconds(150);
// A state is idle once the clock has moved so often since its last run; the reclaimer ends when it has found
// nothing to watch for so many ticks.
constexpr unsigned kIdleTicks = 2;
constexpr int kLastTicks = 4;

std::atomic<unsigned> clock_ticks{0};

}  // namespace

// A thread that lives only while pools hold more than they keep for ever. Lock order: its own, then a pool's.
class Reclaimer {
 public:
  // Never destroyed: its thread may outlive the end of main. In static memory, so that it is there when no
  // other is left.
  static Reclaimer& get() noexcept {
    alignas(Reclaimer) static std::byte memory[sizeof(Reclaimer)];
    static Reclaimer& reclaimer = *new (memory) Reclaimer;
    return reclaimer;
  }

  // False where nobody will watch: no memory, or no thread.
  bool watch(StatePool& pool) noexcept {
    const ForkSafeLock lock(mutex_);
    forget_parent();
    try {
      if (!is_running_) start();
      if (!pool.is_watched_) pools_.push_back(&pool);
      pool.is_watched_ = true;
      return true;
    } catch (const std::exception&) {
      return false;
    }
  }

  void forget(StatePool& pool) {
    const ForkSafeLock lock(mutex_);
    forget_parent();
    std::erase(pools_, &pool);
  }

 private:
  // A child has no such thread, and the list may have been half changed.
  void forget_parent() {
    if (generation_ == process_generation()) return;
    new (&pools_) std::vector<StatePool*>();
    is_running_ = false;
    generation_ = process_generation();
  }

  void start() {
#if !defined(_WIN32)
    // Signals are for the threads of the application.
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    struct Restore {
      const sigset_t& mask;
      ~Restore() { pthread_sigmask(SIG_SETMASK, &mask, nullptr); }
    } const restore{before};
#endif
    std::thread([this] { run(); }).detach();
    is_running_ = true;
  }

  void run() {
    for (int empty_ticks = 0;;) {
      std::this_thread::sleep_for(kTick);
      const unsigned tick = clock_ticks.fetch_add(1) + 1;
      StatePool::States idle;
      {
        const ForkSafeLock lock(mutex_);
        for (std::size_t i = 0; i < pools_.size();) {
          if (pools_[i]->take_idle(tick, idle)) {
            ++i;
            continue;
          }
          pools_[i] = pools_.back();
          pools_.pop_back();
        }
        empty_ticks = pools_.empty() ? empty_ticks + 1 : 0;
        if (empty_ticks >= kLastTicks) {
          is_running_ = false;
          return;
        }
      }
      if (idle.empty()) continue;
      idle.clear();
#if defined(__GLIBC__)
      // What threads that have ended left in their parts of malloc's memory, outputs among it.
      malloc_trim(0);
#endif
    }
  }

  ForkSafeMutex mutex_;
  std::vector<StatePool*> pools_;
  std::uint32_t generation_ = process_generation();
  bool is_running_ = false;
};

bool RunState::is_for(std::span<const TensorType> types) const {
  return is_valid && types.size() == inputs.size() && std::equal(types.begin(), types.end(), inputs.begin());
}

Index RunState::bytes() const {
  Index sum = 0;
  for (const auto& workspace : workspaces) sum += workspace->bytes();
  return sum;
}

StatePool::~StatePool() { Reclaimer::get().forget(*this); }

void StatePool::forget_parent() {
  if (generation_ == process_generation()) return;
  // A thread of the parent may have been about to change the list.
  new (&states_) States();
  bytes_ = 0;
  is_watched_ = false;
  generation_ = process_generation();
}

std::unique_ptr<RunState> StatePool::take(std::span<const TensorType> inputs) {
  {
    const ForkSafeLock lock(mutex_);
    forget_parent();
    if (!states_.empty()) {
      auto found = std::find_if(states_.rbegin(), states_.rend(),
                                [&](const auto& state) { return state->is_for(inputs); });
      if (found == states_.rend()) found = states_.rbegin();
      std::unique_ptr<RunState> state = std::move(*found);
      states_.erase(std::next(found).base());
      bytes_ -= state->bytes();
      return state;
    }
  }
  return std::make_unique<RunState>();
}

void StatePool::give_back(std::unique_ptr<RunState> state) noexcept {
  const Index bytes = state->bytes();
  state->idle_since = clock_ticks.load(std::memory_order_relaxed);
  bool needs_watch = false;
  std::unique_ptr<RunState> surplus;
  {
    const ForkSafeLock lock(mutex_);
    forget_parent();
    if (bytes <= kSmallBytes && states_.size() >= kMostSmall) {
      surplus = std::move(state);
    } else {
      try {
        states_.push_back(std::move(state));
        bytes_ += bytes;
      } catch (const std::bad_alloc&) {
        surplus = std::move(state);  // which is still there
      }
    }
    needs_watch = bytes_ > kKeptBytes && !is_watched_;
  }
  if (!needs_watch || Reclaimer::get().watch(*this)) return;
  // Nobody will come back for it.
  States idle;
  (void)take_idle(clock_ticks.load(std::memory_order_relaxed) + kIdleTicks, idle);
}

bool StatePool::take_idle(unsigned tick, States& idle) noexcept {
  const ForkSafeLock lock(mutex_);
  forget_parent();
  try {
    idle.reserve(idle.size() + states_.size());
  } catch (const std::bad_alloc&) {
    return true;  // the next time
  }
  for (auto state = states_.begin(); state != states_.end() && bytes_ > kKeptBytes;) {
    const Index bytes = (*state)->bytes();
    if (bytes <= kSmallBytes || tick - (*state)->idle_since < kIdleTicks) {
      ++state;
      continue;
    }
    bytes_ -= bytes;
    idle.push_back(std::move(*state));
    state = states_.erase(state);
  }
  if (bytes_ > kKeptBytes) return true;
  is_watched_ = false;
  return false;
}

}  // namespace unrolled
