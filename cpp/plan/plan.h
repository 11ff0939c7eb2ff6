// SPDX-License-Identifier: MIT
// A Plan: operations wired over values, immutable, run by any number of threads at once. Each run takes
// its shapes, memory and threads from a pool of states that the plan keeps.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "base/stop.h"
#include "plan/choice.h"
#include "plan/graph.h"
#include "plan/row_tables.h"
#include "plan/state_pool.h"

namespace unrolled {

class Plan {
 public:
  // `graph` must be finished.
  explicit Plan(Graph graph) : graph_(std::move(graph)) {}

  std::size_t input_count() const { return graph_.inputs.size(); }
  std::size_t output_count() const { return graph_.outputs.size(); }
  // The dtype and rank that input `index` must have.
  const TensorType& input_type(std::size_t index) const;

  std::vector<TensorType> infer(std::span<const TensorType> inputs) const;
  const Graph& graph() const { return graph_; }

  // One call: created with the input types, asked for the types of the outputs (which the caller then
  // allocates), and run. Throws std::invalid_argument where the inputs do not fit.
  class Run {
   public:
    Run(const Plan& plan, std::span<const TensorType> inputs);
    ~Run();
    Run(const Run&) = delete;
    Run& operator=(const Run&) = delete;

    std::span<const TensorType> outputs() const { return state_->outputs; }
    // Estimated, on one thread.
    double seconds() const { return state_->seconds; }
    // Of all values that the run computes.
    double value_bytes() const {
      return state_->row_bytes * static_cast<double>(state_->inputs[0].shape.dims[0]);
    }

    // `max_rows` > 0 limits the rows of the batch that are computed at once (memory); `threads` > 0 is
    // how many to use; 0: num_threads() where the work is worth it. Neither changes a bit of the results.
    // Throws Stopped where `stop` is set before the end: the outputs hold anything then.
    void execute(std::span<const void* const> inputs, std::span<void* const> outputs, Index max_rows,
                 int threads, Stop& stop, const RowTables* tables = nullptr);

   private:
    Workspace& workspace(int thread) const;
    // Prepares `workspace` for a block and a team, and runs it unless `bind_only`.
    void run_block(Workspace& workspace, Index block, Index blocks, int team_size, const Team& team,
                   std::span<const void* const> inputs, std::span<void* const> outputs, RunError* error,
                   bool bind_only) const;
    bool run_by_blocks(const Choice& choice, int team_size, std::span<const void* const> inputs,
                       std::span<void* const> outputs, RunError* error, Stop& stop) const;
    bool run_together(const Choice& choice, int team_size, std::span<const void* const> inputs,
                      std::span<void* const> outputs, RunError* error, Stop& stop) const;

    const Plan& plan_;
    std::unique_ptr<RunState> state_;
    const RowTables* tables_ = nullptr;
  };

 private:
  void describe(RunState& state, std::span<const TensorType> inputs) const;

  Graph graph_;
  mutable StatePool states_;
};

}  // namespace unrolled
