// SPDX-License-Identifier: MIT
#include "plan/plan.h"

#include <algorithm>

#include "plan/choice.h"

namespace unrolled {

const TensorType& Plan::input_type(std::size_t index) const {
  return graph_.values[static_cast<std::size_t>(graph_.inputs[index])].type;
}

std::vector<TensorType> Plan::infer(std::span<const TensorType> inputs) const {
  if (inputs.size() != input_count()) {
    fail({"expected ", std::to_string(input_count()), " inputs, got ", std::to_string(inputs.size())});
  }
  std::vector<TensorType> values;
  std::vector<PreparedPointer> prepared;
  prepare_nodes(graph_, inputs, 1, values, prepared);
  std::vector<TensorType> outputs;
  for (const int output : graph_.outputs) outputs.push_back(values[static_cast<std::size_t>(output)]);
  return outputs;
}

void Plan::describe(RunState& state, std::span<const TensorType> inputs) const {
  state.is_valid = false;
  if (inputs.size() != input_count()) {
    fail({"expected ", std::to_string(input_count()), " inputs, got ", std::to_string(inputs.size())});
  }
  std::vector<PreparedPointer> prepared;
  prepare_nodes(graph_, inputs, 1, state.values, prepared);
  const auto type_of = [&state](int value) -> const TensorType& {
    return state.values[static_cast<std::size_t>(value)];
  };
  state.inputs.assign(inputs.begin(), inputs.end());
  state.outputs.clear();
  const Index batch = inputs[0].shape.dims[0];
  bool is_row_independent = true;
  for (const TensorType& input : inputs) is_row_independent &= input.shape.dims[0] == batch;
  for (const int output : graph_.outputs) {
    const TensorType& type = type_of(output);
    state.outputs.push_back(type);
    is_row_independent &= graph_.value(output).has_batch && type.shape.rank > 0;
  }
  state.seconds = 0.0;
  state.resident_bytes = 0.0;
  state.row_bytes = 0.0;
  state.has_sequential = false;
  for (std::size_t n = 0; n < graph_.nodes.size(); ++n) {
    const Node& node = graph_.nodes[n];
    const Cost& cost = prepared[n]->needs.cost;
    state.seconds += cost.flops / kFlopsPerSecond + cost.weight_bytes / kWeightBytesPerSecond;
    state.resident_bytes = std::max(state.resident_bytes, cost.resident_bytes);
    state.has_sequential |= cost.is_sequential;
    const bool has_batch = std::any_of(node.inputs.begin(), node.inputs.end(),
                                       [this](int input) { return graph_.value(input).has_batch; });
    is_row_independent &= !has_batch || prepared[n]->rows == Rows::kIndependent;
    for (const int output : node.outputs) state.row_bytes += static_cast<double>(byte_count(type_of(output)));
  }
  state.row_bytes /= static_cast<double>(std::max<Index>(batch, 1));
  state.is_row_independent = is_row_independent && batch > 0;
  state.sharing.reset(state.seconds);
  state.is_valid = true;
}

}  // namespace unrolled
