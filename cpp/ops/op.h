// SPDX-License-Identifier: MIT
// One operation of a Plan: immutable after construction, run by all threads of a team at once.
#pragma once

#include <span>

#include "base/team.h"
#include "base/tensor.h"

namespace unrolled {

// What the plan needs to know to choose threads; estimates, never used for results.
struct Cost {
  double flops = 0.0;
  double weight_bytes = 0.0;  // weights read by one call, once per timestep counted once
};

struct OpContext {
  std::span<const TensorView> inputs;
  std::span<const TensorView> outputs;
  void* scratch = nullptr;  // scratch_bytes(), 64-byte aligned, shared by the team
  Team team;
};

class Op {
 public:
  virtual ~Op() = default;

  virtual const char* name() const = 0;

  // Checks the input types and fills `outputs` (its size is output_count()). Throws std::invalid_argument
  // on anything that run() could not handle: run() checks nothing.
  virtual void infer(std::span<const TensorType> inputs, std::span<TensorType> outputs) const = 0;

  virtual int output_count() const { return 1; }

  virtual Index scratch_bytes(std::span<const TensorType> inputs, int team_size) const {
    (void)inputs, (void)team_size;
    return 0;
  }

  virtual Cost cost(std::span<const TensorType> inputs) const {
    (void)inputs;
    return {};
  }

  // True when output 0 is input 0's memory under another shape (reshape): the plan aliases the buffers
  // and never calls run().
  virtual bool is_view() const { return false; }

  // True when rows of axis 0 do not depend on each other and every input and output has the batch on
  // axis 0 (or a fixed multiple of it), so that the plan may run blocks of the batch separately.
  virtual bool is_row_independent() const { return true; }

  // Called by every thread of the team; the plan waits for the whole team after each operation.
  virtual void run(const OpContext& context) const = 0;
};

}  // namespace unrolled
