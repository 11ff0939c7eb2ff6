// SPDX-License-Identifier: MIT
// Ends a run before it is done. The thread that began the run asks a function now and then whether to stop;
// the other threads see the answer in a flag.
#pragma once

#include <atomic>
#include <exception>

#include "base/team.h"

namespace unrolled {

// Thrown by a run that was stopped. What the run was to change is as it was before.
class Stopped final : public std::exception {
 public:
  const char* what() const noexcept override { return "stopped"; }
};

class Stop {
 public:
  using Question = bool (*)() noexcept;
  // `question` is asked about ten times a second; null: the run cannot be stopped.
  explicit Stop(Question question = nullptr) : question_(question) {}
  Stop(const Stop&) = delete;
  Stop& operator=(const Stop&) = delete;

  bool is_set() const { return is_set_.load(std::memory_order_relaxed); }
  // By the thread that began the run. Costs a decrement; reads the clock every so many calls.
  bool poll() {
    if (question_ == nullptr || --calls_left_ > 0) return is_set();
    return look();
  }
  void throw_if_set() const {
    if (is_set()) throw Stopped();
  }

  // `team` with the way to ask this; thread 0 of a team is the one that began the run.
  Team given_to(Team team) {
    if (question_ == nullptr) return team;
    team.stop = this;
    team.should_stop = team.index == 0 ? &Stop::poll_of : &Stop::is_set_of;
    return team;
  }

 private:
  static bool poll_of(void* stop) { return static_cast<Stop*>(stop)->poll(); }
  static bool is_set_of(void* stop) { return static_cast<Stop*>(stop)->is_set(); }
  bool look();

  // Calls of poll() between two looks at the clock: few at first, as nothing is known of their pace.
  static constexpr int kFirstCalls = 4;
  Question question_;
  std::atomic<bool> is_set_{false};
  int calls_ = kFirstCalls;
  int calls_left_ = kFirstCalls;
  double last_look_ = -1.0;
  double last_question_ = -1.0;
};

}  // namespace unrolled
