// SPDX-License-Identifier: MIT
// Whether a run is shared among threads, learnt from the times of the runs before it. Sharing does not pay
// where threads must first be woken for a short run, where a model gives them too little between two
// meetings, and on a busy machine, where they wait for whole time slices of other processes. So runs
// alone are timed and sharing is tried; it is doubted again when it slows down, and tried again now and then
// where it had lost. Only times depend on it, never results.
#pragma once

#include <algorithm>
#include <array>

namespace unrolled {

class Sharing {
 public:
  // Estimated seconds of a run on one thread, of new shapes.
  void reset(double estimate) {
    *this = Sharing();
    is_short_ = estimate < kWorthWaking;
    shares_ = !is_short_;
    trial_runs_ = estimate < 1e-3 ? kMostTrialRuns : estimate < 10e-3 ? 5 : estimate < kCheap ? 3 : 1;
    // Where a run alone takes long, sharing is doubted only when it slows down.
    until_doubt_ = estimate < kCheap ? 4 * estimate : kNever;
  }

  // `now` and the times of ran() are seconds of any one clock.
  bool should_share(double now) {
    if (now - last_end_ > kAwake) burst_ = 0;
    if (is_short_ && burst_ < kBurst) return false;
    return shares_ || is_trial_;
  }

  void ran(double start, double end, bool shared) {
    const double seconds = end - start;
    last_end_ = end;
    burst_ = std::min(burst_ + 1, kBurst + 1);
    // The first shared run after one alone wakes the threads, or fetches their memory, and tells nothing. Nor
    // does a short run outside of a burst. What waking costs a long run that comes after a pause counts.
    const bool wakes = shared && !last_was_shared_;
    last_was_shared_ = shared;
    if (wakes || (is_short_ && burst_ <= kBurst)) return;
    if (is_trial_) {
      if (shared) try_shared(seconds);
    } else if (shares_) {
      if (shared) watch_shared(seconds);
    } else {
      alone_.add(seconds);
      until_trial_ -= seconds;
      is_trial_ = until_trial_ <= 0.0 && alone_.count() >= trial_runs_;
    }
  }

 private:
  // A parallel region costs up to 100 us when its threads sleep and about 1 us when they are awake, which
  // those of OpenMP stay for some milliseconds.
  static constexpr double kWorthWaking = 200e-6;
  static constexpr double kAwake = 500e-6;
  static constexpr int kBurst = 30;
  static constexpr int kMostTrialRuns = 9;
  static constexpr double kCheap = 50e-3;
  static constexpr double kSlow = 1.5;
  static constexpr int kSlowRuns = 3;
  static constexpr double kHopeless = 3.0;
  static constexpr double kTimeSlice = 2e-3;  // of another process, at the least
  static constexpr double kNever = 1e30;
  static constexpr double kSoon = 0.1;
  static constexpr double kLate = 10.0;

  // The last few times of one way.
  class Times {
   public:
    void add(double seconds) {
      values_[next_] = seconds;
      next_ = (next_ + 1) % kMostTrialRuns;
      count_ = std::min(count_ + 1, kMostTrialRuns);
    }
    int count() const { return count_; }
    double median(int most) const {
      const int count = std::min(most, count_);
      std::array<double, kMostTrialRuns> last{};
      for (int i = 0; i < count; ++i) last[i] = values_[(next_ + kMostTrialRuns - 1 - i) % kMostTrialRuns];
      std::nth_element(last.begin(), last.begin() + count / 2, last.begin() + count);
      return last[count / 2];
    }

   private:
    std::array<double, kMostTrialRuns> values_{};
    int next_ = 0;
    int count_ = 0;
  };

  void watch_shared(double seconds) {
    // Forgets slowly, so that a machine that has changed its pace for good is not doubted for ever.
    fastest_ = std::min(seconds, 1.003 * fastest_);
    slow_runs_ = seconds > kSlow * fastest_ ? slow_runs_ + 1 : 0;
    until_doubt_ -= seconds;
    if (slow_runs_ < kSlowRuns && until_doubt_ > 0.0) return;
    // Some runs alone, then the trial.
    shares_ = false;
    alone_ = Times();
    until_trial_ = 0.0;
  }

  void try_shared(double seconds) {
    shared_.add(seconds);
    const double alone = alone_.median(trial_runs_);
    const bool is_hopeless = seconds > std::max(kHopeless * alone, kTimeSlice);
    if (shared_.count() < trial_runs_ && !is_hopeless) return;
    const double shared = shared_.median(trial_runs_);
    shares_ = !is_hopeless && shared < alone;
    is_trial_ = false;
    shared_ = Times();
    if (shares_) {
      fastest_ = shared;
      slow_runs_ = 0;
      until_doubt_ = kNever;
      patience_ = kSoon;
    } else {
      // Tried less and less often, at first soon: the machine may be free by then.
      until_trial_ = std::max(patience_, 16 * alone);
      patience_ = std::min(2 * patience_, kLate);
    }
  }

  bool is_short_ = false;
  bool shares_ = true;
  bool is_trial_ = false;  // of sharing
  bool last_was_shared_ = false;
  int trial_runs_ = 1;
  int burst_ = 0;                // runs without a pause
  int slow_runs_ = 0;            // shared, one after the other
  double fastest_ = kNever;      // of the shared runs
  double until_doubt_ = kNever;  // seconds of shared runs
  double until_trial_ = 0.0;     // seconds of runs alone
  double patience_ = kSoon;
  double last_end_ = -1.0;
  Times alone_;
  Times shared_;
};

}  // namespace unrolled
