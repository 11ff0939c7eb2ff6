// SPDX-License-Identifier: MIT
// What runs of a plan keep from call to call, so that a call like the one before allocates nothing. As many
// states as runs at once; what is large and has not been used for some tenths of a second goes back to the
// system.
#pragma once

#include <atomic>
#include <memory>
#include <span>
#include <vector>

#include "base/barrier.h"
#include "base/process.h"
#include "plan/sharing.h"
#include "plan/workspace.h"

namespace unrolled {

struct RunState {
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
  unsigned idle_since = 0;  // in ticks of the pool's clock

  bool is_for(std::span<const TensorType> types) const;
  // Of one row of an input or output.
  Index row_size(const TensorType& type) const { return byte_count(type) / inputs[0].shape.dims[0]; }
  Index bytes() const;
};

class StatePool {
 public:
  StatePool() = default;
  ~StatePool();
  StatePool(const StatePool&) = delete;
  StatePool& operator=(const StatePool&) = delete;

  // The state that already has these shapes, else the last used, else a new one.
  std::unique_ptr<RunState> take(std::span<const TensorType> inputs);
  void give_back(std::unique_ptr<RunState> state) noexcept;

 private:
  friend class Reclaimer;
  using States = std::vector<std::unique_ptr<RunState>>;

  void forget_parent();
  // Moves what is idle at `tick` and exceeds what is kept for ever to `idle`. Where none can follow, the pool
  // is not watched any longer, and this is false.
  bool take_idle(unsigned tick, States& idle) noexcept;

  ForkSafeMutex mutex_;
  States states_;  // the last used at the end
  std::uint32_t generation_ = process_generation();
  Index bytes_ = 0;  // of all states
  std::atomic<bool> is_watched_{false};
};

}  // namespace unrolled
