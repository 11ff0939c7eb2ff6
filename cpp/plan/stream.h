// SPDX-License-Identifier: MIT
// A Stream keeps the states of a fixed set of rows from call to call.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/aligned_buffer.h"
#include "plan/stream_plan.h"

namespace unrolled {

class Stream {
 public:
  // How a step runs: on its own thread where it is short, else on as many as pay; or always on its own, with
  // all memory taken here, so that a step neither allocates nor locks.
  enum class Steps { kAsFits, kAlone };

  Stream(StreamPlan plan, Index rows, Steps steps = Steps::kAsFits);

  const StreamPlan& plan() const { return plan_; }
  Index rows() const { return rows_; }
  // The outputs of one timestep, as the plan gives them.
  std::span<const TensorType> step_outputs() const {
    return std::span<const TensorType>(step_outputs_).first(plan_.output_count);
  }
  std::vector<TensorType> outputs(Index timesteps) const;
  // Whether a step is so short that other threads can wait for it.
  bool is_short() const { return is_short_; }
  // Of all values of one timestep, inputs and outputs not counted.
  double bytes_per_timestep() const { return bytes_per_timestep_; }

  // Advance by one timestep, without allocating after the first call, or by several. The states are as
  // before where this throws. The caller sees to it that no process forks in a short step.
  void step(std::span<const void* const> inputs, std::span<void* const> outputs, Stop& stop);
  void run(Index timesteps, std::span<const void* const> inputs, std::span<void* const> outputs, Stop& stop);

  // In a forked child, where a thread of the parent was inside a call: its scratch memory may be half
  // changed.
  void forget_parent();

  void reset();
  void reset_row(Index row);
  void* state(std::size_t index) { return states_[index].current.data(); }
  // Timesteps since the row began or was reset.
  std::span<std::int64_t> timesteps_seen() { return seen_; }

 private:
  struct State {
    AlignedBuffer current;
    AlignedBuffer next;
  };

  void warm_up();
  void bind(std::span<const void* const> inputs, std::span<void* const> outputs);
  void advance(Index timesteps);

  StreamPlan plan_;
  Index rows_;
  bool is_short_ = false;
  double bytes_per_timestep_ = 0.0;
  std::vector<TensorType> step_types_;
  std::vector<TensorType> step_outputs_;
  std::vector<State> states_;
  std::vector<std::int64_t> seen_;
  std::vector<const void*> from_;  // the plan's inputs and outputs in the current call
  std::vector<void*> to_;
  Workspace workspace_;  // of one timestep on one thread
};

}  // namespace unrolled
