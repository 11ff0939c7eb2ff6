// SPDX-License-Identifier: MIT
// A StreamPool keeps the states of clients that come and go and are stepped together.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/process.h"
#include "plan/stream_plan.h"

namespace unrolled {

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
