// SPDX-License-Identifier: MIT
#include "plan/workspace.h"

#include <cstring>

#include "base/denormals.h"

namespace unrolled {
namespace {

template <typename T>
T& at(std::vector<T>& items, int index) {
  return items[static_cast<std::size_t>(index)];
}
template <typename T>
const T& at(const std::vector<T>& items, int index) {
  return items[static_cast<std::size_t>(index)];
}

// Places buffers one after another in the order of the nodes; freed ones are taken again, first fit.
class Arena {
 public:
  Index take(Index bytes) {
    bytes = align_up(std::max<Index>(bytes, 1));
    for (Hole& hole : holes_) {
      if (hole.bytes < bytes) continue;
      const Index offset = hole.offset;
      hole.offset += bytes;
      hole.bytes -= bytes;
      return offset;
    }
    const Index offset = end_;
    end_ = add(end_, bytes);
    return offset;
  }

  void give_back(Index offset, Index bytes) {
    bytes = align_up(std::max<Index>(bytes, 1));
    // Merged with the holes that it touches.
    for (std::size_t i = 0; i < holes_.size();) {
      const Hole hole = holes_[i];
      if (hole.bytes == 0 || hole.offset + hole.bytes == offset || offset + bytes == hole.offset) {
        if (hole.bytes > 0) {
          offset = std::min(offset, hole.offset);
          bytes += hole.bytes;
        }
        holes_[i] = holes_.back();
        holes_.pop_back();
      } else {
        ++i;
      }
    }
    holes_.push_back({offset, bytes});
  }

  Index end() const { return end_; }

 private:
  struct Hole {
    Index offset = 0;
    Index bytes = 0;
  };
  std::vector<Hole> holes_;
  Index end_ = 0;
};

}  // namespace

void prepare_nodes(const Graph& graph, std::span<const TensorType> inputs, int team_size,
                   std::vector<TensorType>& types, std::vector<PreparedPointer>& prepared) {
  types.resize(graph.values.size());
  for (std::size_t id = 0; id < graph.values.size(); ++id) {
    const Value& value = graph.values[id];
    if (value.kind == ValueKind::kConstant) types[id] = value.type;
    if (value.kind != ValueKind::kInput) continue;
    const TensorType& got = inputs[static_cast<std::size_t>(value.index)];
    if (got.dtype != value.type.dtype || got.shape.rank != value.type.shape.rank) {
      fail({"input ", std::to_string(value.index), ": expected ", to_string(value.type.dtype), " of rank ",
            std::to_string(value.type.shape.rank), ", got ", to_string(got)});
    }
    types[id] = got;
  }
  prepared.clear();
  std::vector<TensorType> operands;
  for (const Node& node : graph.nodes) {
    operands.clear();
    for (const int input : node.inputs) operands.push_back(at(types, input));
    prepared.push_back(node.op->prepare(operands, team_size));
    for (std::size_t i = 0; i < node.outputs.size(); ++i) {
      const TensorType& type = prepared.back()->outputs[i];
      (void)byte_count(type);
      at(types, node.outputs[i]) = type;
    }
  }
}

bool Workspace::has_no_elements(const Node& node) const {
  return std::all_of(node.outputs.begin(), node.outputs.end(),
                     [this](int output) { return element_count(at(types_, output).shape) == 0; });
}

Index Workspace::place_values(const Graph& graph, std::span<const TensorType> inputs, int team_size) {
  prepare_nodes(graph, inputs, team_size, types_, prepared_);
  for (const Node& node : graph.nodes) node.op->make_ready();
  offsets_.assign(graph.values.size(), -1);
  scratch_.assign(graph.nodes.size(), 0);
  Arena arena;
  std::vector<int> live;  // roots in the arena
  for (int n = 0; n < static_cast<int>(graph.nodes.size()); ++n) {
    const Node& node = at(graph.nodes, n);
    if (node.record->memory == Memory::kView) continue;
    const bool is_empty = has_no_elements(node);
    for (const int output : node.outputs) {
      const int root = at(graph.values, output).root;
      if (root != output || at(graph.values, root).output >= 0) continue;
      at(offsets_, root) = arena.take(byte_count(at(types_, root)));
      live.push_back(root);
    }
    if (!is_empty) {
      const Index bytes = at(prepared_, n)->needs.scratch_bytes;
      at(scratch_, n) = arena.take(bytes);
      arena.give_back(at(scratch_, n), bytes);
    }
    for (std::size_t i = 0; i < live.size();) {
      if (at(graph.values, live[i]).last_use > n) {
        ++i;
        continue;
      }
      arena.give_back(at(offsets_, live[i]), byte_count(at(types_, live[i])));
      live[i] = live.back();
      live.pop_back();
    }
  }
  return arena.end();
}

void Workspace::add_operand(const Graph& graph, int value) {
  const int root = at(graph.values, value).root;
  const Value& owner = at(graph.values, root);
  TensorView view;
  view.type = at(types_, value);
  if (owner.kind == ValueKind::kConstant) {
    view.data = at(graph.constants, owner.index).data();
  } else if (owner.kind == ValueKind::kInput) {
    externals_.push_back({operands_.size(), false, owner.index});
  } else if (owner.output >= 0) {
    externals_.push_back({operands_.size(), true, owner.output});
  } else {
    view.data = static_cast<char*>(buffer_.data()) + at(offsets_, root);
  }
  operands_.push_back(view);
}

void Workspace::prepare(const Graph& graph, std::span<const TensorType> inputs, int team_size) {
  if (team_size == team_size_ && std::equal(inputs.begin(), inputs.end(), input_types_.begin())) return;
  team_size_ = 0;  // until everything below has succeeded
  input_types_.assign(inputs.begin(), inputs.end());
  buffer_.reserve(place_values(graph, inputs, team_size));
  operands_.clear();
  steps_.clear();
  externals_.clear();
  copies_.clear();
  for (int n = 0; n < static_cast<int>(graph.nodes.size()); ++n) {
    const Node& node = at(graph.nodes, n);
    if (node.record->memory == Memory::kView || has_no_elements(node)) continue;
    steps_.push_back(
        {at(prepared_, n).get(), operands_.size(), node.inputs.size(), node.outputs.size(), at(scratch_, n)});
    for (const int input : node.inputs) add_operand(graph, input);
    for (const int output : node.outputs) add_operand(graph, output);
  }
  for (const OutputCopy& copy : graph.copies) {
    copies_.push_back({copy.output, operands_.size(), byte_count(at(types_, copy.value))});
    add_operand(graph, copy.value);
  }
  outputs_.reserve(graph.outputs.size());
  team_size_ = team_size;
}

void Workspace::bind(std::span<const void* const> inputs, std::span<void* const> outputs) {
  outputs_.assign(outputs.begin(), outputs.end());
  for (const External& external : externals_) {
    const auto index = static_cast<std::size_t>(external.index);
    // Operations only write their outputs; a view carries both kinds.
    operands_[external.operand].data = external.is_output ? outputs[index] : const_cast<void*>(inputs[index]);
  }
}

void Workspace::run(const Team& team, RunError* error) const {
  const FlushDenormals flush;
  OpContext context;
  context.team = team;
  context.error = error;
  for (const Step& step : steps_) {
    const std::span<const TensorView> operands(operands_.data() + step.first_operand,
                                               step.input_count + step.output_count);
    context.inputs = operands.first(step.input_count);
    context.outputs = operands.last(step.output_count);
    context.scratch = static_cast<char*>(buffer_.data()) + step.scratch_offset;
    step.prepared->run(context);
    if (team.size > 1 ? team.wait(team.barrier, team.index) : should_stop(team)) return;
  }
  if (team.index != 0) return;
  for (const Copy& copy : copies_) {
    if (copy.bytes == 0) continue;
    std::memcpy(at(outputs_, copy.output), operands_[copy.operand].data,
                static_cast<std::size_t>(copy.bytes));
  }
}

}  // namespace unrolled
