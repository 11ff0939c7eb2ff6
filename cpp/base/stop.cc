// SPDX-License-Identifier: MIT
#include "base/stop.h"

#include <algorithm>
#include <chrono>

namespace unrolled {
namespace {

constexpr double kBetweenQuestions = 0.1;
// A look at the clock costs some 25 ns; so often is it worth it.
constexpr double kBetweenLooks = 1e-3;
constexpr int kMostCalls = 1024;

}  // namespace

bool Stop::look() {
  const double now =
      std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
  if (last_look_ >= 0.0) {
    const double elapsed = std::max(now - last_look_, 1e-9);
    const double wanted = static_cast<double>(calls_) * kBetweenLooks / elapsed;
    calls_ = static_cast<int>(std::clamp(wanted, 1.0, static_cast<double>(std::min(8 * calls_, kMostCalls))));
  } else {
    last_question_ = now;
  }
  last_look_ = now;
  calls_left_ = calls_;
  if (!is_set() && now - last_question_ >= kBetweenQuestions) {
    last_question_ = now;
    if (question_()) is_set_.store(true, std::memory_order_relaxed);
  }
  return is_set();
}

}  // namespace unrolled
