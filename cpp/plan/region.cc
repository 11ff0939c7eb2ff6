// SPDX-License-Identifier: MIT
#include "plan/region.h"

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#if defined(_OPENMP)
#include <omp.h>
#endif

#include "base/process.h"

namespace unrolled {
namespace {

#if defined(_OPENMP)
// The team that the runtime keeps for this thread.
struct Kept {
  int size = 1;
  std::uint32_t generation = 0;  // of the process that began it; 0: none
  std::uint32_t forks = 0;       // until then
};
thread_local Kept kept;
#endif

#if defined(_OPENMP) || defined(UNROLLED_STD_THREADS)
// How many of `count` more threads can be there at once. OpenMP's runtimes end the process where the system
// refuses one, so it is asked before.
int startable(int count) {
  std::mutex mutex;
  std::condition_variable all_there;
  bool may_end = false;
  std::vector<std::thread> threads;
  int started = 0;
  try {
    threads.reserve(static_cast<std::size_t>(count));
    for (; started < count; ++started) {
      threads.emplace_back([&] {
        std::unique_lock<std::mutex> lock(mutex);
        all_there.wait(lock, [&] { return may_end; });
      });
    }
  } catch (const std::exception&) {  // no thread, or no memory for one
  }
  {
    const std::lock_guard<std::mutex> lock(mutex);
    may_end = true;
  }
  all_there.notify_all();
  for (std::thread& thread : threads) thread.join();
  return started;
}
#endif

}  // namespace

int available_threads(int wanted) {
#if defined(_OPENMP)
  if (kept.forks != fork_count()) {
    const bool is_lost = kept.generation != 0 && kept.generation != process_generation();
    if (is_lost && !forked_without_team()) return 1;
    kept = Kept{1, 0, fork_count()};
  }
  if (wanted <= kept.size) return wanted;
  return kept.size + startable(wanted - kept.size);
#elif defined(UNROLLED_STD_THREADS)
  return 1 + startable(wanted - 1);
#else
  (void)wanted;
  return 1;
#endif
}

void detail::run_region(int size, void (*call)(void* work, int index, int size), void* work) {
#if defined(_OPENMP)
  kept = {size, unrolled::process_generation(), unrolled::fork_count()};
#pragma omp parallel num_threads(size)
  call(work, omp_get_thread_num(), omp_get_num_threads());
#elif defined(UNROLLED_STD_THREADS)
  // What ThreadSanitizer can follow: libgomp hands work over in ways that it does not see.
  std::vector<std::thread> threads;
  threads.reserve(static_cast<std::size_t>(size - 1));
  for (int index = 1; index < size; ++index) threads.emplace_back(call, work, index, size);
  call(work, 0, size);
  for (std::thread& thread : threads) thread.join();
#else
  (void)size;
  call(work, 0, 1);
#endif
}

}  // namespace unrolled
