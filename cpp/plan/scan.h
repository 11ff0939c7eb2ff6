// SPDX-License-Identifier: MIT
// A recurrence whose timestep is a plan of its own: for cells that the kernels do not have (ConvLSTM, gates
// with softmax). The loop over time is that of Keras, as SweepArguments in kernels/table.h states it.
#pragma once

#include <memory>
#include <vector>

#include "ops/factories.h"
#include "plan/plan.h"

namespace unrolled {

struct ScanConfig {
  bool has_mask = false;
  bool has_initial_states = false;
  bool return_sequences = false;
  bool return_state = false;
  bool read_reversed = false;
  bool write_reversed = false;
  bool zero_output_for_mask = false;
  bool masked_output_is_state = false;
  // Sizes of every state without the batch: [units], or [spatial..., filters].
  std::vector<std::vector<Index>> state_shapes;
};

// `step` takes x_t and the states and gives the output and the new states, all float32 with a batch axis.
// Inputs: x [batch, timesteps, ...], [mask], [initial states]. Outputs: the output, then (return_state) the
// final states.
OpPointer make_scan(std::shared_ptr<const Plan> step, ScanConfig config);

}  // namespace unrolled
