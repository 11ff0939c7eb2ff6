// SPDX-License-Identifier: MIT
// One call of a plan: blocks of rows over threads.
#include <algorithm>
#include <atomic>
#include <chrono>

#include "base/small_vector.h"
#include "base/threads.h"
#include "plan/choice.h"
#include "plan/plan.h"
#include "plan/region.h"

namespace unrolled {
namespace {

constexpr std::size_t kFew = 16;  // inputs or outputs

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

Plan::Run::Run(const Plan& plan, std::span<const TensorType> inputs)
    : plan_(plan), state_(plan.states_.take(inputs)) {
  if (!state_->is_for(inputs)) plan.describe(*state_, inputs);
}

Plan::Run::~Run() { plan_.states_.give_back(std::move(state_)); }

Workspace& Plan::Run::workspace(int thread) const {
  return *state_->workspaces[static_cast<std::size_t>(thread)];
}

void Plan::Run::run_block(Workspace& workspace, Index block, Index blocks, int team_size, const Team& team,
                          std::span<const void* const> inputs, std::span<void* const> outputs,
                          RunError* error, bool bind_only) const {
  const RunState& state = *state_;
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
          static_cast<const char*>(inputs[i]) + (is_table ? 0 : state.row_size(state.inputs[i]) * rows.begin);
    }
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      const bool is_table = tables_ != nullptr && i >= tables_->first_output;
      to[i] = static_cast<char*>(outputs[i]) + (is_table ? 0 : state.row_size(state.outputs[i]) * rows.begin);
    }
    workspace.prepare(plan_.graph_, types.get(), team_size);
    if (tables_ != nullptr) gather(*tables_, state, rows, workspace.gathered_rows(), from.get(), to.get());
    workspace.bind(from.get(), to.get());
  }
  if (bind_only) return;
  workspace.run(team, error);
  if (tables_ != nullptr) scatter(*tables_, state, rows, workspace.gathered_rows(), outputs);
}

void Plan::Run::execute(std::span<const void* const> inputs, std::span<void* const> outputs, Index max_rows,
                        int threads, Stop& stop, const RowTables* tables) {
  RunState& state = *state_;
  tables_ = tables;
  const bool is_measured = threads == 0 && state.seconds >= kWorthSharing && num_threads() > 1;
  const double start = is_measured ? now() : 0.0;
  const bool shares = is_measured && state.sharing.should_share(start);
  const Choice choice = choose(state, max_rows, threads, shares);
  const ThreadLease lease(choice.threads);
  int team_size = lease.count();
  if (choice.by_blocks) team_size = static_cast<int>(std::min<Index>(team_size, choice.blocks));
  if (team_size > 1) team_size = available_threads(team_size);
  while (state.workspaces.size() < static_cast<std::size_t>(choice.by_blocks ? team_size : 1)) {
    state.workspaces.push_back(std::make_unique<Workspace>());
  }
  RunError error;
  if (team_size == 1 ||
      !(choice.by_blocks ? run_by_blocks(choice, team_size, inputs, outputs, &error, stop)
                         : run_together(choice, team_size, inputs, outputs, &error, stop))) {
    for (Index block = 0; block < choice.blocks && !stop.poll(); ++block) {
      run_block(workspace(0), block, choice.blocks, 1, stop.given_to(Team{}), inputs, outputs, &error, false);
    }
  }
  stop.throw_if_set();
  if (is_measured) state.sharing.ran(start, now(), team_size > 1);
  error.throw_if_set();
}

// Every thread takes the next block that nobody has.
bool Plan::Run::run_by_blocks(const Choice& choice, int team_size, std::span<const void* const> inputs,
                              std::span<void* const> outputs, RunError* error, Stop& stop) const {
  std::atomic<Index> next{0};
  run_region(team_size, [&](int index, int) {
    // With the index of the thread and a size of 1: it works alone.
    Team team = stop.given_to(Team{index});
    team.index = 0;
    try {
      for (Index block; (block = next.fetch_add(1, std::memory_order_relaxed)) < choice.blocks;) {
        if (index == 0 ? stop.poll() : stop.is_set()) return;
        run_block(workspace(index), block, choice.blocks, 1, team, inputs, outputs, error, false);
      }
    } catch (...) {
      error->set_current_exception();
    }
  });
  return true;
}

// All threads share every operation. False where the runtime gives fewer threads: nothing is done then.
bool Plan::Run::run_together(const Choice& choice, int team_size, std::span<const void* const> inputs,
                             std::span<void* const> outputs, RunError* error, Stop& stop) const {
  RunState& state = *state_;
  if (!state.barrier || state.barrier->size() != team_size)
    state.barrier = std::make_unique<Barrier>(team_size);
  state.barrier->stop_by(&stop);
  const Index batch = state.inputs[0].shape.dims[0];
  for (Index block = 0; block < choice.blocks && !stop.poll(); ++block) {
    run_block(workspace(0), block, choice.blocks, team_size, Team{}, inputs, outputs, error, true);
    bool is_whole = true;
    run_region(team_size, [&](int index, int size) {
      if (size == team_size) {
        workspace(0).run(stop.given_to(state.barrier->team(index)), error);
      } else if (index == 0) {
        is_whole = false;
      }
    });
    if (!is_whole) return false;
    if (tables_ != nullptr) {
      const Range rows{batch * block / choice.blocks, batch * (block + 1) / choice.blocks};
      scatter(*tables_, state, rows, workspace(0).gathered_rows(), outputs);
    }
  }
  return true;
}

}  // namespace unrolled
