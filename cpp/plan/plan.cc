// SPDX-License-Identifier: MIT
#include "plan/plan.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <exception>
#include <stdexcept>

#if defined(_OPENMP)
#include <omp.h>
#endif

#include "base/small_vector.h"
#include "base/threads.h"

namespace unrolled {
namespace {

// Rates behind the estimate of a run's time on one thread; only the choice of threads depends on them.
constexpr double kFlopsPerSecond = 45e9;
constexpr double kWeightBytesPerSecond = 60e9;
// A shorter run does not even pay for the clock that tells whether sharing pays.
constexpr double kWorthSharing = 5e-6;
// Weights that fit beside the data in one core's second-level cache, and rows that then pass at once.
constexpr double kResidentBytes = 1.5 * (1 << 20);
constexpr Index kResidentBlock = 48;
constexpr Index kStreamedBlock = 128;
constexpr Index kStatelessBlock = 256;
constexpr double kWorkspaceBytes = 64.0 * (1 << 20);
constexpr int kMaxThreads = 1024;
constexpr std::size_t kFew = 16;  // inputs or outputs

bool is_same(std::span<const TensorType> a, const std::vector<TensorType>& b) {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin());
}

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// A mutex that a forked child may find locked for ever: tried for a moment only, and the caller does
// without the pool where that fails.
std::unique_lock<std::mutex> lock_briefly(std::mutex& mutex) {
  std::unique_lock<std::mutex> lock(mutex, std::defer_lock);
  for (int i = 0; i < 1000 && !lock.owns_lock(); ++i) (void)lock.try_lock();
  return lock;
}

}  // namespace

const TensorType& Plan::input_type(std::size_t index) const {
  return graph_.values[static_cast<std::size_t>(graph_.inputs[index])].type;
}

std::vector<TensorType> Plan::infer(std::span<const TensorType> inputs) const {
  if (inputs.size() != input_count()) {
    fail({"expected ", std::to_string(input_count()), " inputs, got ", std::to_string(inputs.size())});
  }
  std::vector<TensorType> values;
  std::vector<PreparedPointer> prepared;
  prepare_nodes(graph_, inputs, 1, values, prepared);
  std::vector<TensorType> outputs;
  for (const int output : graph_.outputs) outputs.push_back(values[static_cast<std::size_t>(output)]);
  return outputs;
}

void Plan::describe(State& state, std::span<const TensorType> inputs) const {
  state.is_valid = false;
  if (inputs.size() != input_count()) {
    fail({"expected ", std::to_string(input_count()), " inputs, got ", std::to_string(inputs.size())});
  }
  std::vector<PreparedPointer> prepared;
  prepare_nodes(graph_, inputs, 1, state.values, prepared);
  const auto type_of = [&state](int value) -> const TensorType& {
    return state.values[static_cast<std::size_t>(value)];
  };
  state.inputs.assign(inputs.begin(), inputs.end());
  state.outputs.clear();
  const Index batch = inputs[0].shape.dims[0];
  bool is_row_independent = true;
  for (const TensorType& input : inputs) is_row_independent &= input.shape.dims[0] == batch;
  for (const int output : graph_.outputs) {
    const TensorType& type = type_of(output);
    state.outputs.push_back(type);
    is_row_independent &= graph_.value(output).has_batch && type.shape.rank > 0;
  }
  state.seconds = 0.0;
  state.resident_bytes = 0.0;
  state.row_bytes = 0.0;
  state.has_sequential = false;
  for (std::size_t n = 0; n < graph_.nodes.size(); ++n) {
    const Node& node = graph_.nodes[n];
    const Cost& cost = prepared[n]->needs.cost;
    state.seconds += cost.flops / kFlopsPerSecond + cost.weight_bytes / kWeightBytesPerSecond;
    state.resident_bytes = std::max(state.resident_bytes, cost.resident_bytes);
    state.has_sequential |= cost.is_sequential;
    const bool has_batch = std::any_of(node.inputs.begin(), node.inputs.end(),
                                       [this](int input) { return graph_.value(input).has_batch; });
    is_row_independent &= !has_batch || prepared[n]->rows == Rows::kIndependent;
    for (const int output : node.outputs) state.row_bytes += static_cast<double>(byte_count(type_of(output)));
  }
  state.row_bytes /= static_cast<double>(std::max<Index>(batch, 1));
  state.is_row_independent = is_row_independent && batch > 0;
  state.sharing.reset(state.seconds);
  state.is_valid = true;
}

std::unique_ptr<Plan::State> Plan::take_state(std::span<const TensorType> inputs) const {
  if (const auto lock = lock_briefly(mutex_); lock && !pool_.empty()) {
    // The state that already has these shapes, else the last used.
    auto found = std::find_if(pool_.begin(), pool_.end(), [&](const std::unique_ptr<State>& state) {
      return state->is_valid && is_same(inputs, state->inputs);
    });
    if (found == pool_.end()) --found;
    std::unique_ptr<State> state = std::move(*found);
    *found = std::move(pool_.back());
    pool_.pop_back();
    return state;
  }
  return std::make_unique<State>();
}

void Plan::give_back(std::unique_ptr<State> state) const {
  if (const auto lock = lock_briefly(mutex_); lock) pool_.push_back(std::move(state));
}

Plan::Run::Run(const Plan& plan, std::span<const TensorType> inputs)
    : plan_(plan), state_(plan.take_state(inputs)) {
  if (!state_->is_valid || !is_same(inputs, state_->inputs)) plan.describe(*state_, inputs);
}

Plan::Run::~Run() {
  try {
    plan_.give_back(std::move(state_));
  } catch (const std::bad_alloc&) {
    // The state is freed instead.
  }
}

Workspace& Plan::Run::workspace(int thread) const {
  return *state_->workspaces[static_cast<std::size_t>(thread)];
}

Plan::Run::Choice Plan::Run::choose(Index max_rows, int threads, bool shares) const {
  const State& state = *state_;
  Choice choice;
  // A number that the caller asks for is taken as it is; the default one only where it pays.
  if (threads > 0) {
    choice.threads = std::min(threads, kMaxThreads);
  } else if (shares) {
    choice.threads = num_threads();
  }
  if (!state.is_row_independent) return choice;

  const Index batch = state.inputs[0].shape.dims[0];
  const bool is_resident = state.resident_bytes <= kResidentBytes;
  choice.by_blocks = choice.threads > 1 && is_resident && batch >= std::max(4, 2 * choice.threads);
  Index limit = kStreamedBlock;
  if (!state.has_sequential || (choice.threads > 1 && !choice.by_blocks)) {
    limit = kStatelessBlock;
  } else if (is_resident) {
    limit = kResidentBlock;
  }
  const double affordable = std::max(1.0, kWorkspaceBytes / std::max(1.0, state.row_bytes));
  if (affordable < static_cast<double>(limit)) limit = static_cast<Index>(affordable);
  if (max_rows > 0) limit = std::min(limit, max_rows);
  choice.blocks = (batch + limit - 1) / limit;
  if (choice.by_blocks) {
    choice.blocks = std::min(batch, (choice.blocks + choice.threads - 1) / choice.threads * choice.threads);
  }
  return choice;
}

Index Plan::Run::row_bytes(const TensorType& type) const {
  return byte_count(type) / state_->inputs[0].shape.dims[0];
}

// Copies rows of the tables side by side into memory of the workspace, and points there.
void Plan::Run::gather(Workspace& workspace, Range rows, std::span<const void*> from,
                       std::span<void*> to) const {
  const Index count = rows.end - rows.begin;
  Index bytes = 0;
  for (std::size_t i = tables_->first_input; i < from.size(); ++i) {
    bytes += align_up(count * row_bytes(state_->inputs[i]));
  }
  for (std::size_t i = tables_->first_output; i < to.size(); ++i) {
    bytes += align_up(count * row_bytes(state_->outputs[i]));
  }
  AlignedBuffer& memory = workspace.gathered_rows();
  memory.reserve(std::max<Index>(bytes, 1));
  char* next = static_cast<char*>(memory.data());
  for (std::size_t i = tables_->first_output; i < to.size(); ++i) {
    to[i] = next;
    next += align_up(count * row_bytes(state_->outputs[i]));
  }
  for (std::size_t i = tables_->first_input; i < from.size(); ++i) {
    const Index size = row_bytes(state_->inputs[i]);
    const auto* table = static_cast<const char*>(from[i]);
    from[i] = next;
    for (Index row = rows.begin; row < rows.end; ++row) {
      const Index read = tables_->reads[static_cast<std::size_t>(row)];
      std::memcpy(next + (row - rows.begin) * size, table + read * size, static_cast<std::size_t>(size));
    }
    next += align_up(count * size);
  }
}

void Plan::Run::scatter(const Workspace& workspace, Range rows, std::span<void* const> outputs) const {
  const char* next = static_cast<const char*>(workspace.gathered_rows().data());
  for (std::size_t i = tables_->first_output; i < outputs.size(); ++i) {
    const Index size = row_bytes(state_->outputs[i]);
    auto* table = static_cast<char*>(outputs[i]);
    for (Index row = rows.begin; row < rows.end; ++row) {
      const Index written = tables_->writes[static_cast<std::size_t>(row)];
      std::memcpy(table + written * size, next + (row - rows.begin) * size, static_cast<std::size_t>(size));
    }
    next += align_up((rows.end - rows.begin) * size);
  }
}

void Plan::Run::run_block(Workspace& workspace, Index block, Index blocks, int team_size,
                          std::span<const void* const> inputs, std::span<void* const> outputs,
                          RunError* error, bool bind_only) const {
  const State& state = *state_;
  const Index batch = state.inputs[0].shape.dims[0];
  const Range rows{batch * block / blocks, batch * (block + 1) / blocks};
  if (blocks == 1 && tables_ == nullptr) {
    workspace.prepare(plan_.graph_, state.inputs, team_size);
    workspace.bind(inputs, outputs);
  } else {
    SmallVector<const void*, kFew> from(inputs.size());
    SmallVector<void*, kFew> to(outputs.size());
    SmallVector<TensorType, kFew> types(inputs.size());
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      const bool is_table = tables_ != nullptr && i >= tables_->first_input;
      types[i] = state.inputs[i];
      types[i].shape.dims[0] = rows.end - rows.begin;
      from[i] =
          static_cast<const char*>(inputs[i]) + (is_table ? 0 : row_bytes(state.inputs[i]) * rows.begin);
    }
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      const bool is_table = tables_ != nullptr && i >= tables_->first_output;
      to[i] = static_cast<char*>(outputs[i]) + (is_table ? 0 : row_bytes(state.outputs[i]) * rows.begin);
    }
    workspace.prepare(plan_.graph_, types.get(), team_size);
    if (tables_ != nullptr) gather(workspace, rows, from.get(), to.get());
    workspace.bind(from.get(), to.get());
  }
  if (bind_only) return;
  workspace.run(Team{}, error);
  if (tables_ != nullptr) scatter(workspace, rows, outputs);
}

void Plan::Run::execute(std::span<const void* const> inputs, std::span<void* const> outputs, Index max_rows,
                        int threads, const RowTables* tables) {
  State& state = *state_;
  tables_ = tables;
  const bool is_measured = threads == 0 && state.seconds >= kWorthSharing && num_threads() > 1;
  const double start = is_measured ? now() : 0.0;
  const bool shares = is_measured && state.sharing.should_share(start);
  const Choice choice = choose(max_rows, threads, shares);
  const ThreadLease lease(choice.threads);
  RunError error;
  int team_size = lease.count();
  if (choice.by_blocks) team_size = static_cast<int>(std::min<Index>(team_size, choice.blocks));
  execute(choice, team_size, inputs, outputs, &error);
  if (is_measured) state.sharing.ran(start, now(), team_size > 1);
  if (error.is_set()) throw std::invalid_argument(error.message());
}

void Plan::Run::execute(const Choice& choice, int team_size, std::span<const void* const> inputs,
                        std::span<void* const> outputs, RunError* error) {
  State& state = *state_;
  while (state.workspaces.size() < static_cast<std::size_t>(choice.by_blocks ? team_size : 1)) {
    state.workspaces.push_back(std::make_unique<Workspace>());
  }

  bool is_done = false;
#if defined(_OPENMP)
  if (team_size > 1 && choice.by_blocks) {
    std::atomic<Index> next{0};
    std::atomic<bool> has_failed{false};
    std::exception_ptr failure;
#pragma omp parallel num_threads(team_size)
    {
      Workspace& own = workspace(omp_get_thread_num());
      try {
        for (Index block; (block = next.fetch_add(1, std::memory_order_relaxed)) < choice.blocks;) {
          run_block(own, block, choice.blocks, 1, inputs, outputs, error, false);
        }
      } catch (...) {
        if (!has_failed.exchange(true)) failure = std::current_exception();
      }
    }
    if (failure) std::rethrow_exception(failure);
    is_done = true;
  } else if (team_size > 1) {
    if (!state.barrier || state.barrier->size() != team_size) {
      state.barrier = std::make_unique<Barrier>(team_size);
    }
    is_done = true;
    for (Index block = 0; block < choice.blocks && is_done; ++block) {
      run_block(workspace(0), block, choice.blocks, team_size, inputs, outputs, error, true);
#pragma omp parallel num_threads(team_size)
      {
        // The runtime may give fewer threads (OMP_THREAD_LIMIT): then the whole run is done by one, below.
        if (omp_get_num_threads() == team_size) {
          workspace(0).run(state.barrier->team(omp_get_thread_num()), error);
        } else if (omp_get_thread_num() == 0) {
          is_done = false;
        }
      }
      if (is_done && tables_ != nullptr) {
        const Index batch = state.inputs[0].shape.dims[0];
        scatter(workspace(0), {batch * block / choice.blocks, batch * (block + 1) / choice.blocks}, outputs);
      }
    }
  }
#endif
  if (!is_done) {
    for (Index block = 0; block < choice.blocks; ++block) {
      run_block(workspace(0), block, choice.blocks, 1, inputs, outputs, error, false);
    }
  }
}

}  // namespace unrolled
