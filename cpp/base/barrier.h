// SPDX-License-Identifier: MIT
// The barrier of a team: one flag per thread on its own cache line, so that a wait costs one line moved
// per other thread. It spins shortly, then sleeps: a spinning thread keeps its processor from the very
// thread it waits for, and one that yields instead hands a whole time slice to any other process.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "base/stop.h"
#include "base/team.h"

namespace unrolled {

class Barrier {
 public:
  explicit Barrier(int size) : size_(size), flags_(new Flag[static_cast<std::size_t>(size)]) {}

  int size() const { return size_; }
  // What the waits ask from now on; before the team begins.
  void stop_by(Stop* stop);
  // Whether the run is to end: the same answer for the whole team.
  bool wait(int index);
  Team team(int index) {
    return {index, size_, this, size_ > 1 ? &Barrier::wait_for : nullptr, nullptr, nullptr};
  }

 private:
  struct alignas(64) Flag {
    std::atomic<std::uint32_t> epoch{0};  // how many waits this thread has reached
    std::atomic<std::uint32_t> sleepers{0};
  };
  static bool wait_for(void* barrier, int index) { return static_cast<Barrier*>(barrier)->wait(index); }

  int size_;
  std::unique_ptr<Flag[]> flags_;
  Stop* stop_ = nullptr;
  // From which wait on the run is over. Thread 0 says so before it comes to that wait, so that everybody who
  // leaves that wait has heard it, and a late one who leaves the wait before goes on to it.
  std::atomic<bool> is_stopped_{false};
  std::atomic<std::uint32_t> stopped_at_{0};
};

}  // namespace unrolled
