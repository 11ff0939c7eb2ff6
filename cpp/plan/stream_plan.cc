// SPDX-License-Identifier: MIT
#include "plan/stream_plan.h"

#include <algorithm>
#include <cstring>

namespace unrolled {

std::vector<TensorType> StreamPlan::types(Index rows, Index timesteps) const {
  std::vector<TensorType> result = inputs;
  for (TensorType& type : result) {
    type.shape.dims[0] = rows;
    type.shape.dims[1] = timesteps;
  }
  for (const CarriedState& state : states) {
    TensorType type{state.row.dtype, {}};
    type.shape.rank = state.row.shape.rank + 1;
    type.shape.dims[0] = rows;
    std::copy_n(state.row.shape.dims, state.row.shape.rank, type.shape.dims + 1);
    result.push_back(type);
  }
  return result;
}

void StreamPlan::check() const {
  if (inputs.empty()) fail({"stream: expected at least one input"});
  for (const TensorType& input : inputs) {
    if (input.shape.rank < 2) fail({"stream: expected inputs with a batch and a time axis"});
  }
  for (const CarriedState& state : states) {
    if (state.row.shape.rank >= kMaxRank) fail({"stream: a state has too many axes"});
  }
  if (plan->input_count() != inputs.size() + states.size() ||
      plan->output_count() != output_count + states.size()) {
    fail({"stream: the plan has ", std::to_string(plan->input_count()), " inputs and ",
          std::to_string(plan->output_count()), " outputs, which do not fit ", std::to_string(states.size()),
          " states"});
  }
  const std::vector<TensorType> given = types(1, 1);
  const std::vector<TensorType> results = plan->infer(given);
  for (std::size_t i = 0; i < states.size(); ++i) {
    if (results[output_count + i] == given[inputs.size() + i]) continue;
    fail({"stream: state ", std::to_string(i), " begins as ", to_string(given[inputs.size() + i]),
          " and becomes ", to_string(results[output_count + i])});
  }
}

void fill(const CarriedState& state, void* rows, Index count) {
  const Index elements = multiply(element_count(state.row.shape), count);
  if (state.row.dtype == DType::kFloat32) {
    std::fill_n(static_cast<float*>(rows), elements, state.initial);
  } else {
    std::memset(rows, 0, static_cast<std::size_t>(elements * size_of(state.row.dtype)));
  }
}

}  // namespace unrolled
