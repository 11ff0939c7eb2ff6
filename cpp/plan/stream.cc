// SPDX-License-Identifier: MIT
#include "plan/stream.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <stdexcept>

namespace unrolled {
namespace {

// A step on one thread that keeps other threads waiting no longer than this does not let them in first:
// that alone costs half a microsecond.
constexpr double kShortSeconds = 200e-6;
constexpr Index kMaxClients = Index{1} << 31;
constexpr int kSlotBits = 32;

void fill(const CarriedState& state, void* rows, Index count) {
  const Index elements = multiply(element_count(state.row.shape), count);
  if (state.row.dtype == DType::kFloat32) {
    std::fill_n(static_cast<float*>(rows), elements, state.initial);
  } else {
    std::memset(rows, 0, static_cast<std::size_t>(elements * size_of(state.row.dtype)));
  }
}

}  // namespace

std::vector<TensorType> StreamPlan::types(Index rows, Index timesteps) const {
  std::vector<TensorType> result = inputs;
  for (TensorType& type : result) {
    type.shape.dims[0] = rows;
    type.shape.dims[1] = timesteps;
  }
  for (const CarriedState& state : states) {
    TensorType type{state.row.dtype, {}};
    type.shape.rank = state.row.shape.rank + 1;
    type.shape.dims[0] = rows;
    std::copy_n(state.row.shape.dims, state.row.shape.rank, type.shape.dims + 1);
    result.push_back(type);
  }
  return result;
}

void StreamPlan::check() const {
  if (inputs.empty()) fail({"stream: expected at least one input"});
  for (const TensorType& input : inputs) {
    if (input.shape.rank < 2) fail({"stream: expected inputs with a batch and a time axis"});
  }
  for (const CarriedState& state : states) {
    if (state.row.shape.rank >= kMaxRank) fail({"stream: a state has too many axes"});
  }
  if (plan->input_count() != inputs.size() + states.size() ||
      plan->output_count() != output_count + states.size()) {
    fail({"stream: the plan has ", std::to_string(plan->input_count()), " inputs and ",
          std::to_string(plan->output_count()), " outputs, which do not fit ", std::to_string(states.size()),
          " states"});
  }
  const std::vector<TensorType> given = types(1, 1);
  const std::vector<TensorType> results = plan->infer(given);
  for (std::size_t i = 0; i < states.size(); ++i) {
    if (results[output_count + i] == given[inputs.size() + i]) continue;
    fail({"stream: state ", std::to_string(i), " begins as ", to_string(given[inputs.size() + i]),
          " and becomes ", to_string(results[output_count + i])});
  }
}

Stream::Stream(StreamPlan plan, Index rows)
    : plan_(std::move(plan)), rows_(rows), seen_(static_cast<std::size_t>(std::max<Index>(rows, 0))) {
  if (rows < 1) fail({"stream: expected a batch size of at least 1, got ", std::to_string(rows)});
  plan_.check();
  step_types_ = plan_.types(rows, 1);
  {
    const Plan::Run call(*plan_.plan, step_types_);
    step_outputs_.assign(call.outputs().begin(), call.outputs().end());
    is_short_ = call.seconds() < kShortSeconds;
    bytes_per_timestep_ = call.value_bytes();
  }
  for (const CarriedState& state : plan_.states) {
    const Index bytes = multiply(byte_count(state.row), rows);
    states_.push_back({AlignedBuffer(std::max<Index>(bytes, 1)), AlignedBuffer(std::max<Index>(bytes, 1))});
  }
  from_.resize(step_types_.size());
  to_.resize(step_outputs_.size());
  reset();
  if (is_short_) workspace_.prepare(plan_.plan->graph(), step_types_, 1);
}

std::vector<TensorType> Stream::outputs(Index timesteps) const {
  std::vector<TensorType> result = plan_.plan->infer(plan_.types(rows_, timesteps));
  result.resize(plan_.output_count);
  return result;
}

void Stream::reset() {
  for (std::size_t i = 0; i < states_.size(); ++i) fill(plan_.states[i], states_[i].current.data(), rows_);
  std::fill(seen_.begin(), seen_.end(), 0);
}

void Stream::reset_row(Index row) {
  if (row < 0 || row >= rows_) {
    fail({"reset: no row ", std::to_string(row), " in a stream of ", std::to_string(rows_), " rows"});
  }
  for (std::size_t i = 0; i < states_.size(); ++i) {
    const Index bytes = byte_count(plan_.states[i].row);
    fill(plan_.states[i], static_cast<char*>(states_[i].current.data()) + row * bytes, 1);
  }
  seen_[static_cast<std::size_t>(row)] = 0;
}

void Stream::bind(std::span<const void* const> inputs, std::span<void* const> outputs) {
  std::copy(inputs.begin(), inputs.end(), from_.begin());
  std::copy(outputs.begin(), outputs.end(), to_.begin());
  for (std::size_t i = 0; i < states_.size(); ++i) {
    from_[inputs.size() + i] = states_[i].current.data();
    to_[outputs.size() + i] = states_[i].next.data();
  }
}

void Stream::advance(Index timesteps) {
  for (State& state : states_) std::swap(state.current, state.next);
  for (std::int64_t& seen : seen_) seen += timesteps;
}

void Stream::step(std::span<const void* const> inputs, std::span<void* const> outputs, Stop& stop) {
  bind(inputs, outputs);
  if (is_short_) {
    RunError error;
    workspace_.bind(from_, to_);
    workspace_.run(Team{}, &error);
    error.throw_if_set();
    advance(1);
  } else {
    Plan::Run(*plan_.plan, step_types_).execute(from_, to_, 0, 0, stop);
    const NoFork no_fork;
    advance(1);
  }
}

void Stream::run(Index timesteps, std::span<const void* const> inputs, std::span<void* const> outputs,
                 Stop& stop) {
  bind(inputs, outputs);
  Plan::Run(*plan_.plan, plan_.types(rows_, timesteps)).execute(from_, to_, 0, 0, stop);
  const NoFork no_fork;
  advance(timesteps);
}

void Stream::forget_parent() {
  new (&workspace_) Workspace();
  if (is_short_) workspace_.prepare(plan_.plan->graph(), step_types_, 1);
}

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
