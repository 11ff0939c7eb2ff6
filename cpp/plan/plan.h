// SPDX-License-Identifier: MIT
// A Plan: operations wired over values, immutable, run by any number of threads at once. Each run takes
// its shapes, memory and threads from a pool of states that the plan keeps.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "base/barrier.h"
#include "plan/graph.h"
#include "plan/sharing.h"
#include "plan/workspace.h"

namespace unrolled {

// Rows of a batch that lie scattered in tables: row i of inputs from `first_input` on is row reads[i] of the
// table that the input points to, and row i of outputs from `first_output` on goes to row writes[i].
struct RowTables {
  std::size_t first_input = 0;
  std::size_t first_output = 0;
  std::span<const Index> reads;
  std::span<const Index> writes;
};

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

 private:
  struct State {
    // For the input types of the last run: what comes out, and what the choice of threads depends on.
    std::vector<TensorType> inputs;
    std::vector<TensorType> outputs;
    std::vector<TensorType> values;
    bool is_valid = false;
    bool is_row_independent = false;
    double seconds = 0.0;         // estimated, on one thread
    double resident_bytes = 0.0;  // see Cost
    double row_bytes = 0.0;       // of all values together
    bool has_sequential = false;
    Sharing sharing;
    std::vector<std::unique_ptr<Workspace>> workspaces;  // by thread
    std::unique_ptr<Barrier> barrier;
  };

 public:
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
    void execute(std::span<const void* const> inputs, std::span<void* const> outputs, Index max_rows,
                 int threads, const RowTables* tables = nullptr);

   private:
    struct Choice {
      int threads = 1;
      bool by_blocks = false;  // threads take blocks of the batch each, instead of sharing every operation
      Index blocks = 1;
    };
    Choice choose(Index max_rows, int threads, bool shares) const;
    void run_block(Workspace& workspace, Index block, Index blocks, int team_size,
                   std::span<const void* const> inputs, std::span<void* const> outputs, RunError* error,
                   bool bind_only) const;
    void gather(Workspace& workspace, Range rows, std::span<const void*> from, std::span<void*> to) const;
    void scatter(const Workspace& workspace, Range rows, std::span<void* const> outputs) const;
    Index row_bytes(const TensorType& type) const;
    Workspace& workspace(int thread) const;
    void execute(const Choice& choice, int team_size, std::span<const void* const> inputs,
                 std::span<void* const> outputs, RunError* error);

    const Plan& plan_;
    std::unique_ptr<State> state_;
    const RowTables* tables_ = nullptr;
  };

 private:
  void describe(State& state, std::span<const TensorType> inputs) const;
  std::unique_ptr<State> take_state(std::span<const TensorType> inputs) const;
  void give_back(std::unique_ptr<State> state) const;

  Graph graph_;
  mutable std::mutex mutex_;
  mutable std::vector<std::unique_ptr<State>> pool_;
};

}  // namespace unrolled
