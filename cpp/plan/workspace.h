// SPDX-License-Identifier: MIT
// The memory and the shapes of one run of a graph: prepared for given input types, then reused by every
// call with the same ones without allocating. Used by one run (one team) at a time.
#pragma once

#include <span>
#include <vector>

#include "base/aligned_buffer.h"
#include "plan/graph.h"

namespace unrolled {

// The types of all values for given input types, in values' order, and all operations for them, in nodes'
// order. Throws std::invalid_argument.
void prepare_nodes(const Graph& graph, std::span<const TensorType> inputs, int team_size,
                   std::vector<TensorType>& types, std::vector<PreparedPointer>& prepared);

class Workspace {
 public:
  // Throws std::invalid_argument where an operation cannot take its input. Cheap when nothing changed.
  // Where it throws, the next call prepares everything anew.
  void prepare(const Graph& graph, std::span<const TensorType> inputs, int team_size);

  // Sets where the caller's inputs and outputs are; before run(), by one thread.
  void bind(std::span<const void* const> inputs, std::span<void* const> outputs);

  // Called by every thread of the team that prepare() was told of. Ends early where the team is told to stop.
  void run(const Team& team, RunError* error) const;

  // What it holds.
  Index bytes() const { return buffer_.capacity() + gathered_rows_.capacity(); }

  // Memory for rows that the caller of run() gathers.
  AlignedBuffer& gathered_rows() { return gathered_rows_; }
  const AlignedBuffer& gathered_rows() const { return gathered_rows_; }

 private:
  struct Step {
    const Prepared* prepared = nullptr;
    std::size_t first_operand = 0;
    std::size_t input_count = 0;
    std::size_t output_count = 0;
    Index scratch_offset = 0;
  };
  // An operand, or the source of a copy, that lies in the caller's memory.
  struct External {
    std::size_t operand = 0;
    bool is_output = false;
    int index = 0;
  };
  struct Copy {
    int output = 0;
    std::size_t operand = 0;
    Index bytes = 0;
  };

  bool has_no_elements(const Node& node) const;
  Index place_values(const Graph& graph, std::span<const TensorType> inputs, int team_size);
  void add_operand(const Graph& graph, int value);

  std::vector<TensorType> input_types_;
  int team_size_ = 0;                      // 0: not prepared
  std::vector<TensorType> types_;          // by value
  std::vector<PreparedPointer> prepared_;  // by node
  std::vector<Index> offsets_;             // by root value that lies in buffer_
  std::vector<Index> scratch_;             // by node
  std::vector<TensorView> operands_;       // by step: inputs, then outputs; then the sources of copies
  std::vector<Step> steps_;
  std::vector<External> externals_;
  std::vector<Copy> copies_;
  std::vector<void*> outputs_;
  AlignedBuffer buffer_;
  AlignedBuffer gathered_rows_;
};

}  // namespace unrolled
