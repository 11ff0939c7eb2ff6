// SPDX-License-Identifier: MIT
// What a stream runs: a plan that takes the caller's inputs and then the states, and gives the caller's
// outputs and then the states after them.
#pragma once

#include <vector>

#include "plan/plan.h"

namespace unrolled {

struct CarriedState {
  TensorType row;        // without the batch axis
  float initial = 0.0f;  // of every element; 0 unless float32
};

// A plan and how a stream calls it.
struct StreamPlan {
  const Plan* plan = nullptr;
  std::vector<TensorType> inputs;  // the caller's; sizes 0 and 1 are the rows and timesteps of a call
  std::size_t output_count = 0;    // the caller's
  std::vector<CarriedState> states;

  // All inputs of the plan for a call. Throws std::invalid_argument where they do not fit it.
  std::vector<TensorType> types(Index rows, Index timesteps) const;
  // Throws std::invalid_argument unless the plan gives the states that it takes.
  void check() const;
};

// The state that `count` rows begin with.
void fill(const CarriedState& state, void* rows, Index count);

}  // namespace unrolled
