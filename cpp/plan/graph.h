// SPDX-License-Identifier: MIT
// What a Plan knows before it sees a shape: the operations in order, the values between them, and which
// values share one piece of memory.
#pragma once

#include <memory>
#include <vector>

#include "base/aligned_buffer.h"
#include "ops/op.h"

namespace unrolled {

struct Node {
  const OpRecord* record = nullptr;
  Arguments arguments;
  OpPointer op;
  std::vector<int> inputs;
  std::vector<int> outputs;
};

enum class ValueKind { kInput, kConstant, kComputed };

struct Value {
  ValueKind kind = ValueKind::kComputed;
  int index = 0;          // among the inputs or the constants
  bool has_batch = true;  // false for constants and what is computed from constants alone
  TensorType type;        // inputs: dtype and rank; constants: everything
  int root = 0;           // the value whose memory this one is (itself for most)
  int last_use = -1;      // of a root: the last node that reads it; kNever for outputs
  int output = -1;        // of a root: the output whose memory it is, -1 for none
};

// An output that is not computed in place: an input, a constant, or a second name of another output.
struct OutputCopy {
  int output = 0;
  int value = 0;
};

struct Graph {
  static constexpr int kNever = 1 << 30;

  std::vector<Node> nodes;
  std::vector<Value> values;
  std::vector<int> inputs;
  std::vector<AlignedBuffer> constants;
  std::vector<int> outputs;
  std::vector<OutputCopy> copies;

  // Adds a node; returns its output values. Throws std::invalid_argument on ids that do not exist and on
  // arguments that the operation refuses.
  std::vector<int> add(const OpRecord& record, Arguments arguments);
  int add_input(DType dtype, int rank);
  int add_constant(const TensorType& type, const void* data);
  const Value& value(Index id) const;

  // Fixes the outputs and fills root, last_use, output and copies.
  void finish(std::vector<int> output_values);
};

}  // namespace unrolled
