// SPDX-License-Identifier: MIT
// Whether sharing a run among threads still pays. On a busy machine the threads of a team wait for whole
// time slices of other processes, and a run may take ten times longer than on one thread; a pace measures
// both ways once sharing looks slow, takes the better one, and tries the other now and then. Only times
// depend on it, never results.
#pragma once

#include <algorithm>

namespace unrolled {

class Pace {
 public:
  // For new shapes; `estimate` is the time on one thread.
  void reset(double estimate) {
    *this = Pace();
    estimate_ = estimate;
  }

  bool should_share() const {
    // One early run alone, where that is cheap, gives the measure for the others.
    if (!is_doubtful_) return alone_ > 0.0 || shared_ == 0.0 || estimate_ > kCheap;
    if (alone_ == 0.0) return false;
    // The other way about a sixteenth of the time, but tried again soon: the machine may be free by now.
    return alone_ >= shared_ || spent_alone_ >= std::min(16.0 * shared_, std::max(4.0 * shared_, kSoon));
  }

  void ran_shared(double seconds) {
    // The first run also fetches memory and starts threads.
    if (!is_warm_) {
      is_warm_ = true;
      return;
    }
    const double limit = std::min(alone_ > 0.0 ? 1.2 * alone_ : estimate_, 2.5 * best_shared_);
    best_shared_ = std::min(best_shared_, seconds);
    shared_ = average(shared_, seconds, seconds < shared_ ? 0.5 : 0.25);
    spent_alone_ = 0.0;
    if (seconds > limit) {
      is_doubtful_ = true;
    } else if (seconds < 1.3 * best_shared_ && shared_ <= alone_) {
      is_doubtful_ = false;
    }
  }

  void ran_alone(double seconds) {
    alone_ = average(alone_, seconds, 0.125);
    spent_alone_ += seconds;
  }

 private:
  static constexpr double kSoon = 0.1;

  static constexpr double kCheap = 0.05;

  static double average(double mean, double seconds, double weight) {
    return mean == 0.0 ? seconds : mean + (seconds - mean) * weight;
  }

  double estimate_ = 0.0;
  double best_shared_ = 1e9;
  double shared_ = 0.0;  // running means; 0 before the first run
  double alone_ = 0.0;
  double spent_alone_ = 0.0;  // since the last shared run
  bool is_warm_ = false;
  bool is_doubtful_ = false;
};

}  // namespace unrolled
