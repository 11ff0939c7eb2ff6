// SPDX-License-Identifier: MIT
// Whether a run too short to wake threads for is shared all the same: in a burst of runs one after the other
// the threads of the last run are still awake, and sharing pays from a few microseconds on. A burst measures
// both ways, takes the faster, and measures again now and then. Only times depend on it, never results.
#pragma once

#include <algorithm>
#include <array>

namespace unrolled {

class Burst {
 public:
  // `now` and the times below in seconds, of any one clock.
  bool should_share(double now) {
    // After a pause the threads may sleep: waking them would cost more than the run.
    if (now - last_end_ > kPause) begin(Phase::kWaiting);
    return phase_ == Phase::kTryingShared || (phase_ == Phase::kDecided && is_shared_better_);
  }

  void ran(double start, double end, bool shared) {
    const double seconds = end - start;
    last_end_ = end;
    ++runs_;
    switch (phase_) {
      case Phase::kWaiting:
        if (runs_ >= kRunsOfABurst) begin(kept_ > 0 ? Phase::kDecided : Phase::kTryingAlone);
        return;
      case Phase::kTryingAlone:
        add(seconds);
        if (count_ < times_.size()) return;
        alone_ = median();
        begin(Phase::kTryingShared);
        return;
      case Phase::kTryingShared:
        // The first shared run wakes the threads. One that waits for other processes ends the trial.
        if (!shared || (runs_ > 1 && seconds > kTooSlow * alone_)) return decide(false);
        if (runs_ > 1) add(seconds);
        if (count_ == times_.size()) decide(median() < alone_);
        return;
      case Phase::kDecided:
        const bool has_slowed = shared && runs_ > 1 && seconds > kTooSlow * alone_;
        if (has_slowed || --kept_ == 0) begin(Phase::kTryingAlone);
        return;
    }
  }

 private:
  enum class Phase { kWaiting, kTryingAlone, kTryingShared, kDecided };
  // Threads of OpenMP stay awake for some milliseconds after their work.
  static constexpr double kPause = 200e-6;
  static constexpr int kRunsOfABurst = 30;
  static constexpr double kTooSlow = 3.0;
  static constexpr int kKeptRuns = 1000;
  static constexpr int kMostKeptRuns = 64000;

  void begin(Phase phase) {
    phase_ = phase;
    runs_ = 0;
    count_ = 0;
  }

  void decide(bool is_shared_better) {
    // A machine or a model where sharing does not pay is asked less and less often.
    next_kept_ = is_shared_better ? kKeptRuns : std::min(2 * next_kept_, kMostKeptRuns);
    kept_ = next_kept_;
    is_shared_better_ = is_shared_better;
    begin(Phase::kDecided);
  }

  void add(double seconds) { times_[count_++] = seconds; }

  double median() {
    std::nth_element(times_.begin(), times_.begin() + times_.size() / 2, times_.end());
    return times_[times_.size() / 2];
  }

  Phase phase_ = Phase::kWaiting;
  int runs_ = 0;  // in this phase
  int kept_ = 0;  // runs for which the decision still holds; 0 before the first one
  int next_kept_ = kKeptRuns;
  bool is_shared_better_ = false;
  double last_end_ = -1.0;
  double alone_ = 0.0;
  std::size_t count_ = 0;
  std::array<double, 9> times_;
};

}  // namespace unrolled
