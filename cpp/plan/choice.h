// SPDX-License-Identifier: MIT
// How a run is cut: its threads, and the blocks of rows that go through the plan one after another. The one
// place that chooses either; ops/rows.h has what it shares with loops over time. Only times and memory depend
// on it, never results.
#pragma once

#include "plan/state_pool.h"

namespace unrolled {

struct Choice {
  int threads = 1;
  bool by_blocks = false;  // threads take blocks of the batch each, instead of sharing every operation
  Index blocks = 1;
};

// `max_rows` and `threads` as Plan::Run::execute takes them; `shares`: whether threads are worth it where the
// caller does not say how many.
Choice choose(const RunState& state, Index max_rows, int threads, bool shares);

// A shorter run, estimated in seconds on one thread, does not even pay for the clock that tells whether
// sharing pays.
inline constexpr double kWorthSharing = 5e-6;
// Rates behind that estimate; only the choice depends on them.
inline constexpr double kFlopsPerSecond = 45e9;
inline constexpr double kWeightBytesPerSecond = 60e9;

}  // namespace unrolled
