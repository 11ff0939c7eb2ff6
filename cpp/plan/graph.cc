// SPDX-License-Identifier: MIT
#include "plan/graph.h"

#include <cstring>

#include "kernels/dispatch.h"

namespace unrolled {

const Value& Graph::value(Index id) const {
  if (id < 0 || id >= static_cast<Index>(values.size())) {
    fail({"no value ", std::to_string(id), " in this plan of ", std::to_string(values.size()), " values"});
  }
  return values[static_cast<std::size_t>(id)];
}

std::vector<int> Graph::add(const OpRecord& record, Arguments arguments) {
  Node node{&record, std::move(arguments), nullptr, {}, {}};
  Surroundings surroundings{kernels::active_table(), {}};
  bool has_batch = false;
  for (const Index operand : node.arguments.operands()) {
    const bool own = value(operand).has_batch;
    surroundings.has_batch.push_back(own);
    has_batch = has_batch || own;
    node.inputs.push_back(static_cast<int>(operand));
  }
  node.op = record.make(node.arguments, surroundings);
  Value result;
  result.has_batch = has_batch;
  for (int i = 0; i < node.op->output_count(); ++i)
    node.outputs.push_back(static_cast<int>(values.size()) + i);
  std::vector<int> results = node.outputs;
  nodes.push_back(std::move(node));
  try {
    values.insert(values.end(), results.size(), result);
  } catch (...) {
    nodes.pop_back();
    throw;
  }
  return results;
}

int Graph::add_input(DType dtype, int rank) {
  if (rank < 1 || rank > kMaxRank) {
    fail({"input: expected a rank from 1 to ", std::to_string(kMaxRank), ", got ", std::to_string(rank)});
  }
  Value input;
  input.kind = ValueKind::kInput;
  input.index = static_cast<int>(inputs.size());
  input.type.dtype = dtype;
  input.type.shape.rank = rank;
  inputs.push_back(static_cast<int>(values.size()));
  try {
    values.push_back(input);
  } catch (...) {
    inputs.pop_back();
    throw;
  }
  return inputs.back();
}

int Graph::add_constant(const TensorType& type, const void* data) {
  Value constant;
  constant.kind = ValueKind::kConstant;
  constant.index = static_cast<int>(constants.size());
  constant.has_batch = false;
  constant.type = type;
  const Index size = byte_count(type);
  AlignedBuffer buffer(align_up(std::max<Index>(size, 1)));
  if (size > 0) std::memcpy(buffer.data(), data, static_cast<std::size_t>(size));
  constants.push_back(std::move(buffer));
  try {
    values.push_back(constant);
  } catch (...) {
    constants.pop_back();
    throw;
  }
  return static_cast<int>(values.size()) - 1;
}

void Graph::finish(std::vector<int> output_values) {
  if (inputs.empty()) fail({"a plan needs at least one input"});
  for (const int output : output_values) (void)value(output);
  copies.clear();  // of an attempt that failed
  copies.reserve(output_values.size());
  outputs = std::move(output_values);
  const auto at = [this](int id) -> Value& { return values[static_cast<std::size_t>(id)]; };
  const auto root_of = [&at](int id) -> Value& { return at(at(id).root); };

  for (std::size_t id = 0; id < values.size(); ++id) values[id].root = static_cast<int>(id);
  for (int n = 0; n < static_cast<int>(nodes.size()); ++n) {
    const Node& node = nodes[static_cast<std::size_t>(n)];
    if (node.record->memory == Memory::kView) {
      at(node.outputs[0]).root = at(node.inputs[0]).root;
    } else {
      for (const int input : node.inputs) root_of(input).last_use = n;
      // A result that nobody reads must not share memory with what the same node still writes.
      for (const int output : node.outputs) at(output).last_use = n;
    }
  }
  for (std::size_t k = 0; k < outputs.size(); ++k) {
    Value& root = root_of(outputs[k]);
    if (root.kind == ValueKind::kComputed && root.output < 0) {
      root.output = static_cast<int>(k);
      root.last_use = kNever;
    } else {
      copies.push_back({static_cast<int>(k), outputs[k]});
      if (root.kind == ValueKind::kComputed) root.last_use = kNever;
    }
  }
  // An operation that may work in place takes over memory that it is the last to read.
  for (int n = 0; n < static_cast<int>(nodes.size()); ++n) {
    const Node& node = nodes[static_cast<std::size_t>(n)];
    if (node.record->memory != Memory::kInPlace) continue;
    const int into = at(node.inputs[0]).root;
    const int from = node.outputs[0];
    if (at(into).kind != ValueKind::kComputed || at(into).last_use != n) continue;
    at(into).last_use = at(from).last_use;
    at(into).output = at(from).output;
    for (Value& candidate : values) {
      if (candidate.root == from) candidate.root = into;
    }
  }
}

}  // namespace unrolled
