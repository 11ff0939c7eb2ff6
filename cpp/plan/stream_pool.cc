// SPDX-License-Identifier: MIT
#include "plan/stream_pool.h"

#include <algorithm>
#include <cstring>
#include <new>

namespace unrolled {
namespace {

constexpr Index kMaxClients = Index{1} << 31;
constexpr int kSlotBits = 32;

}  // namespace

StreamPool::StreamPool(StreamPlan plan, Index capacity) : plan_(std::move(plan)) {
  if (capacity < 1) fail({"stream_pool: expected a capacity of at least 1, got ", std::to_string(capacity)});
  plan_.check();
  for (const CarriedState& state : plan_.states) row_bytes_.push_back(byte_count(state.row));
  tables_.resize(plan_.states.size());
  from_.resize(plan_.inputs.size() + plan_.states.size());
  to_.resize(plan_.output_count + plan_.states.size());
  types_ = plan_.types(1, 1);
  grow(capacity);
}

Index StreamPool::capacity() const {
  const ForkSafeLock lock(mutex_);
  return static_cast<Index>(slots_.size());
}

Index StreamPool::size() const {
  const ForkSafeLock lock(mutex_);
  return static_cast<Index>(slots_.size() - free_.size());
}

void StreamPool::grow(Index capacity) {
  if (capacity > kMaxClients) fail({"stream_pool: more than ", std::to_string(kMaxClients), " clients"});
  const Index old_count = static_cast<Index>(slots_.size());
  std::vector<AlignedBuffer> tables(tables_.size());
  for (std::size_t i = 0; i < tables.size(); ++i) {
    tables[i].reserve(std::max<Index>(multiply(row_bytes_[i], 2 * capacity), 1));
    if (old_count > 0) {
      std::memcpy(tables[i].data(), tables_[i].data(),
                  static_cast<std::size_t>(row_bytes_[i] * 2 * old_count));
    }
  }
  const NoFork no_fork;
  free_.reserve(static_cast<std::size_t>(capacity));
  slots_.resize(static_cast<std::size_t>(capacity));
  tables_ = std::move(tables);
  // The lowest slot is taken first.
  for (Index slot = capacity - 1; slot >= old_count; --slot) free_.push_back(static_cast<std::size_t>(slot));
}

std::size_t StreamPool::find(std::int64_t id) const {
  const auto slot = static_cast<std::size_t>(id & ((std::int64_t{1} << kSlotBits) - 1));
  const std::int64_t turn = id >> kSlotBits;
  if (id < 0 || slot >= slots_.size() || turn >= slots_[slot].times_opened) {
    fail({"no client ", std::to_string(id), " in this pool"});
  }
  if (turn + 1 != slots_[slot].times_opened || !slots_[slot].is_open) {
    fail({"client ", std::to_string(id), " is closed"});
  }
  return slot;
}

Index StreamPool::row(std::size_t slot) const {
  return 2 * static_cast<Index>(slot) + (slots_[slot].reads_second ? 1 : 0);
}

char* StreamPool::at(std::size_t state, Index row) const {
  return static_cast<char*>(tables_[state].data()) + row * row_bytes_[state];
}

void StreamPool::clear(std::size_t slot) {
  for (std::size_t i = 0; i < tables_.size(); ++i) fill(plan_.states[i], at(i, row(slot)), 1);
  slots_[slot].timesteps_seen = 0;
}

std::int64_t StreamPool::open() {
  const ForkSafeLock lock(mutex_);
  if (free_.empty()) grow(2 * static_cast<Index>(slots_.size()));
  const NoFork no_fork;
  const std::size_t slot = free_.back();
  free_.pop_back();
  slots_[slot].is_open = true;
  clear(slot);
  return (slots_[slot].times_opened++ << kSlotBits) | static_cast<std::int64_t>(slot);
}

void StreamPool::close(std::int64_t id) {
  const ForkSafeLock lock(mutex_);
  const std::size_t slot = find(id);
  const NoFork no_fork;
  slots_[slot].is_open = false;
  // A slot whose turns no longer fit an id is not used again.
  if (slots_[slot].times_opened < (std::int64_t{1} << (62 - kSlotBits))) free_.push_back(slot);
}

void StreamPool::reset(std::int64_t id) {
  const ForkSafeLock lock(mutex_);
  const std::size_t slot = find(id);
  const NoFork no_fork;
  clear(slot);
}

std::vector<TensorType> StreamPool::outputs(Index count) const {
  std::vector<TensorType> result = plan_.plan->infer(plan_.types(count, 1));
  result.resize(plan_.output_count);
  return result;
}

void StreamPool::step(std::span<const std::int64_t> ids, std::span<const void* const> inputs,
                      std::span<void* const> outputs, Stop& stop) {
  const ForkSafeLock lock(mutex_);
  if (lock.is_inherited()) {
    // A thread of the parent may have been about to change the lists.
    new (&reads_) std::vector<Index>();
    new (&writes_) std::vector<Index>();
  }
  ++calls_;
  reads_.clear();
  writes_.clear();
  for (const std::int64_t id : ids) {
    const std::size_t slot = find(id);
    if (slots_[slot].last_call == calls_) fail({"client ", std::to_string(id), " is there twice"});
    slots_[slot].last_call = calls_;
    reads_.push_back(row(slot));
    writes_.push_back(row(slot) ^ 1);
  }
  std::copy(inputs.begin(), inputs.end(), from_.begin());
  std::copy(outputs.begin(), outputs.end(), to_.begin());
  for (std::size_t i = 0; i < tables_.size(); ++i) {
    from_[inputs.size() + i] = tables_[i].data();
    to_[outputs.size() + i] = tables_[i].data();
  }
  for (TensorType& type : types_) type.shape.dims[0] = static_cast<Index>(ids.size());
  const RowTables tables{inputs.size(), outputs.size(), reads_, writes_};
  Plan::Run(*plan_.plan, types_).execute(from_, to_, 0, 0, stop, &tables);
  const NoFork no_fork;
  for (const Index written : writes_) {
    Slot& slot = slots_[static_cast<std::size_t>(written / 2)];
    slot.reads_second = !slot.reads_second;
    ++slot.timesteps_seen;
  }
}

void StreamPool::read(std::int64_t id, std::span<void* const> states, std::int64_t& timesteps_seen) const {
  const ForkSafeLock lock(mutex_);
  const std::size_t slot = find(id);
  for (std::size_t i = 0; i < states.size(); ++i) {
    std::memcpy(states[i], at(i, row(slot)), static_cast<std::size_t>(row_bytes_[i]));
  }
  timesteps_seen = slots_[slot].timesteps_seen;
}

void StreamPool::write(std::int64_t id, std::span<const void* const> states, std::int64_t timesteps_seen) {
  const ForkSafeLock lock(mutex_);
  const std::size_t slot = find(id);
  const NoFork no_fork;
  for (std::size_t i = 0; i < states.size(); ++i) {
    std::memcpy(at(i, row(slot)), states[i], static_cast<std::size_t>(row_bytes_[i]));
  }
  slots_[slot].timesteps_seen = timesteps_seen;
}

}  // namespace unrolled
