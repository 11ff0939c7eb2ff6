// SPDX-License-Identifier: MIT
#include "base/process.h"

#if !defined(_WIN32)
#include <pthread.h>
#endif

#if defined(_OPENMP) && defined(__GNUC__) && !defined(__clang__)
// OpenMP 5.0, in libgomp since GCC 9; null where an older one is there. LLVM's runtime minds forks by itself.
extern "C" int omp_pause_resource_all(int kind) __attribute__((weak));
#endif

namespace unrolled {

namespace detail {
std::atomic<std::uint32_t> process_generation{1};
std::atomic<std::uint32_t> fork_count{0};
}  // namespace detail

namespace {

std::mutex fork_mutex;
void (*child_handler)() = nullptr;
#if defined(_OPENMP) && defined(__GNUC__) && !defined(__clang__)
std::atomic<bool> has_ended_team{false};
#else
std::atomic<bool> has_ended_team{true};
#endif

#if !defined(_WIN32)
void before_fork() {
#if defined(_OPENMP) && defined(__GNUC__) && !defined(__clang__)
  // libgomp's threads do not survive a fork, and a child's first parallel region would wait for them for
  // ever. So the thread that forks ends its team first; parent and child begin a new one where they need it.
  constexpr int kHard = 2;  // omp_pause_hard
  const bool has_ended = omp_pause_resource_all != nullptr && omp_pause_resource_all(kHard) == 0;
#endif
  fork_mutex.lock();
#if defined(_OPENMP) && defined(__GNUC__) && !defined(__clang__)
  has_ended_team = has_ended;
#endif
  detail::fork_count.fetch_add(1, std::memory_order_relaxed);
}

void after_fork_in_parent() { fork_mutex.unlock(); }

void after_fork_in_child() {
  fork_mutex.unlock();
  detail::process_generation.fetch_add(1, std::memory_order_relaxed);
  if (child_handler != nullptr) child_handler();
}
#endif

}  // namespace

bool forked_without_team() { return has_ended_team; }

void handle_forks(void (*child)()) {
  child_handler = child;
#if !defined(_WIN32)
  pthread_atfork(&before_fork, &after_fork_in_parent, &after_fork_in_child);
#endif
}

bool ForkSafeMutex::lock() {
  bool is_inherited = false;
  if (try_lock(is_inherited)) return is_inherited;
  for (;;) {
    std::uint32_t seen = word_.load(std::memory_order_relaxed);
    if (is_free(seen)) {
      // Others may still wait, which this thread cannot know.
      if (word_.compare_exchange_strong(seen, held() | kHasWaiters, std::memory_order_acquire))
        return seen != 0;
      continue;
    }
    if ((seen & kHasWaiters) == 0) {
      if (!word_.compare_exchange_strong(seen, seen | kHasWaiters, std::memory_order_relaxed)) continue;
      seen |= kHasWaiters;
    }
    word_.wait(seen, std::memory_order_relaxed);
  }
}

void ForkSafeMutex::unlock() {
  if ((word_.exchange(0, std::memory_order_release) & kHasWaiters) != 0) word_.notify_one();
}

NoFork::NoFork() { fork_mutex.lock(); }
NoFork::~NoFork() { fork_mutex.unlock(); }

}  // namespace unrolled
