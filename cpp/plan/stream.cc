// SPDX-License-Identifier: MIT
#include "plan/stream.h"

#include <algorithm>
#include <cstring>
#include <new>

#include "base/process.h"

namespace unrolled {
namespace {

// A step on one thread that keeps other threads waiting no longer than this does not let them in first:
// that alone costs half a microsecond.
constexpr double kShortSeconds = 200e-6;

}  // namespace

Stream::Stream(StreamPlan plan, Index rows, Steps steps)
    : plan_(std::move(plan)), rows_(rows), seen_(static_cast<std::size_t>(std::max<Index>(rows, 0))) {
  if (rows < 1) fail({"stream: expected a batch size of at least 1, got ", std::to_string(rows)});
  plan_.check();
  step_types_ = plan_.types(rows, 1);
  {
    const Plan::Run call(*plan_.plan, step_types_);
    step_outputs_.assign(call.outputs().begin(), call.outputs().end());
    is_short_ = steps == Steps::kAlone || call.seconds() < kShortSeconds;
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
  if (steps == Steps::kAlone) warm_up();
}

// A plan inside the plan takes its memory when it first runs.
void Stream::warm_up() {
  std::vector<AlignedBuffer> memory;
  const auto take = [&](const TensorType& type) {
    const Index bytes = std::max<Index>(byte_count(type), 1);
    memory.emplace_back(bytes);
    std::memset(memory.back().data(), 0, static_cast<std::size_t>(bytes));
    return memory.back().data();
  };
  std::vector<const void*> inputs;
  std::vector<void*> outputs;
  for (std::size_t i = 0; i < plan_.inputs.size(); ++i) inputs.push_back(take(step_types_[i]));
  for (std::size_t i = 0; i < plan_.output_count; ++i) outputs.push_back(take(step_outputs_[i]));
  bind(inputs, outputs);
  RunError error;  // of values that are all 0, which no caller gave
  workspace_.bind(from_, to_);
  workspace_.run(Team{}, &error);
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

}  // namespace unrolled
