// SPDX-License-Identifier: MIT
// Threads that do one piece of work together: the only use of OpenMP.
#pragma once

namespace unrolled {

// At most `wanted`: how many threads the system lets this thread have. One in a forked child on a thread
// whose team has stayed in the parent.
int available_threads(int wanted);

namespace detail {
void run_region(int size, void (*call)(void* work, int index, int size), void* work);
}

// Calls work(index, size) on every thread of a team of `size`, the calling thread as index 0. The runtime may
// give fewer threads (OMP_THREAD_LIMIT): `work` is told how many there are. It must not throw.
template <typename Work>
void run_region(int size, Work&& work) {
  detail::run_region(
      size, [](void* given, int index, int count) { (*static_cast<Work*>(given))(index, count); }, &work);
}

}  // namespace unrolled
