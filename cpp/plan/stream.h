// SPDX-License-Identifier: MIT
// Streams: rows whose states live from call to call. A plan for streams takes the caller's inputs and then
// the states, and gives the caller's outputs and then the states after them. A Stream keeps the states of a
// fixed set of rows; a StreamPool those of clients that come and go and are stepped together.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/process.h"
#include "plan/plan.h"

namespace unrolled {

struct CarriedState {
  TensorType row;        // without the batch axis
  float initial = 0.0f;  // of every element; 0 unless float32
};

// A plan and how a stream calls it.
struct StreamPlan {
  const Plan* plan = nullptr;
  std::vector<TensorType> inputs;  // the caller's; sizes 0 and 1 are the rows and timesteps of a call
  std::size_t output_count = 0;    // the caller's
  std::vector<CarriedState> states;

  // All inputs of the plan for a call. Throws std::invalid_argument where they do not fit it.
  std::vector<TensorType> types(Index rows, Index timesteps) const;
  // Throws std::invalid_argument unless the plan gives the states that it takes.
  void check() const;
};

class Stream {
 public:
  Stream(StreamPlan plan, Index rows);

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

// Thread-safe. Every client has a slot, and every slot two rows in each table of states: one is read, the
// other written, so that a call that fails has changed nothing. An id is its slot and how often the slot has
// been opened: the ids of a slot's earlier clients stay recognisable as closed.
class StreamPool {
 public:
  StreamPool(StreamPlan plan, Index capacity);

  const StreamPlan& plan() const { return plan_; }
  Index capacity() const;
  Index size() const;

  // Doubles the capacity when all slots are taken.
  std::int64_t open();
  void close(std::int64_t id);
  void reset(std::int64_t id);

  // Advances the clients by one timestep together; row i of inputs and outputs is that of ids[i]. Throws
  // std::invalid_argument before anything is computed on an id that is unknown, closed or there twice.
  std::vector<TensorType> outputs(Index count) const;
  void step(std::span<const std::int64_t> ids, std::span<const void* const> inputs,
            std::span<void* const> outputs, Stop& stop);

  // Copy all states of one client, in order, and its age; `states` has one pointer for each.
  void read(std::int64_t id, std::span<void* const> states, std::int64_t& timesteps_seen) const;
  void write(std::int64_t id, std::span<const void* const> states, std::int64_t timesteps_seen);

 private:
  struct Slot {
    std::int64_t times_opened = 0;
    std::int64_t timesteps_seen = 0;
    std::uint64_t last_call = 0;
    bool is_open = false;
    bool reads_second = false;  // of its two rows
  };

  void grow(Index capacity);
  std::size_t find(std::int64_t id) const;
  Index row(std::size_t slot) const;
  void clear(std::size_t slot);
  char* at(std::size_t state, Index row) const;

  StreamPlan plan_;
  mutable ForkSafeMutex mutex_;
  std::vector<Slot> slots_;
  std::vector<std::size_t> free_;
  std::vector<AlignedBuffer> tables_;
  std::vector<Index> row_bytes_;
  std::uint64_t calls_ = 0;
  std::vector<Index> reads_;  // rows of the clients of the current call
  std::vector<Index> writes_;
  std::vector<const void*> from_;
  std::vector<void*> to_;
  std::vector<TensorType> types_;
};

}  // namespace unrolled
