// SPDX-License-Identifier: MIT
// One operation of a Plan: immutable after construction, run by all threads of a team at once.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <exception>
#include <span>

#include "base/shape.h"
#include "base/team.h"
#include "base/tensor.h"

namespace unrolled {

// What the plan needs to know to choose threads; estimates, never used for results.
struct Cost {
  double flops = 0.0;
  double weight_bytes = 0.0;    // weights read by one call; a recurrent op counts them once per timestep
  double resident_bytes = 0.0;  // weights that a thread needs in its cache to run this op on its own
  bool is_sequential = false;   // reads its weights once per timestep
};

// The first problem with the values of an input (an embedding id out of range) that any thread finds; the
// plan throws it as std::invalid_argument once the run has ended.
class RunError {
 public:
  template <typename... Arguments>
  void set(const char* format, Arguments... arguments) {
    if (claimed_.exchange(true, std::memory_order_relaxed)) return;
    std::snprintf(message_, sizeof(message_), format, arguments...);
    ready_.store(true, std::memory_order_release);
  }
  // The exception in flight, in a catch block.
  void set_current_exception() {
    if (claimed_.exchange(true, std::memory_order_relaxed)) return;
    exception_ = std::current_exception();
    ready_.store(true, std::memory_order_release);
  }
  void throw_if_set() const {
    if (!ready_.load(std::memory_order_acquire)) return;
    if (exception_) std::rethrow_exception(exception_);
    fail({message_});
  }

 private:
  std::atomic<bool> claimed_{false};
  std::atomic<bool> ready_{false};
  std::exception_ptr exception_;
  char message_[160];
};

struct OpContext {
  std::span<const TensorView> inputs;
  std::span<const TensorView> outputs;
  void* scratch = nullptr;  // scratch_bytes(), 64-byte aligned, shared by the team
  Team team;
  RunError* error = nullptr;
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

  // True when output 0 is input 0's memory under another shape (reshape): the plan aliases the buffers,
  // reads only the types of the other inputs, and never calls run().
  virtual bool is_view() const { return false; }

  // True when output 0 has input 0's type and may be its memory too.
  virtual bool is_in_place() const { return false; }

  // True when blocks of axis 0 do not depend on each other: running rows [a, b) of every input that has a
  // batch gives rows [a, b) of every output (or the same multiple of a and b, where axis 0 is batch * time).
  virtual bool is_row_independent(std::span<const TensorType> inputs) const {
    (void)inputs;
    return true;
  }

  // Called by every thread of the team; the plan waits for the whole team after each operation. An
  // operation of a batch of 0 is never run.
  virtual void run(const OpContext& context) const = 0;
};

// The share of `count` items that a thread of the team takes, in contiguous ranges that are multiples of
// `grain` (the last may be shorter).
struct Range {
  Index begin = 0;
  Index end = 0;
};

inline Range share_of(Index count, const Team& team, Index grain = 1) {
  if (team.size == 1) return {0, count};
  const Index grains = (count + grain - 1) / grain;
  const Index begin = grains * team.index / team.size * grain;
  const Index end = grains * (team.index + 1) / team.size * grain;
  return {std::min(begin, count), std::min(end, count)};
}

// For work that takes long without a wait: whether to leave the rest undone.
inline bool should_stop(const Team& team) {
  return team.should_stop != nullptr && team.should_stop(team.stop);
}

inline const float* floats(const TensorView& view) { return static_cast<const float*>(view.data); }
inline float* mutable_floats(const TensorView& view) { return static_cast<float*>(view.data); }
inline const std::uint8_t* bytes(const TensorView& view) {
  return static_cast<const std::uint8_t*>(view.data);
}

// Throw std::invalid_argument naming `op`, what was expected and what came.
void check_dtype(const char* op, const TensorType& type, DType expected);
void check_rank_at_least(const char* op, const TensorType& type, int rank);

}  // namespace unrolled
