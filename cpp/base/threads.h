// SPDX-License-Identifier: MIT
// How many threads a run may take: the processors that this process may use, and what other runs in the
// same process have already taken.
#pragma once

namespace unrolled {

inline constexpr int kMaxThreads = 1024;

// One in a forked child until it sets another number: children usually share the processors.
int num_threads();
// Throws std::invalid_argument unless 1 <= count <= kMaxThreads.
void set_num_threads(int count);

// The threads that one run holds. Two runs at once share the limit instead of doubling the threads: each
// gets its caller's own thread and what is free, at most `wanted`.
class ThreadLease {
 public:
  explicit ThreadLease(int wanted);
  ~ThreadLease();
  ThreadLease(const ThreadLease&) = delete;
  ThreadLease& operator=(const ThreadLease&) = delete;

  int count() const { return count_; }

 private:
  int count_;
};

}  // namespace unrolled
