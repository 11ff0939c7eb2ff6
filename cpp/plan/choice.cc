// SPDX-License-Identifier: MIT
#include "plan/choice.h"

#include <algorithm>

#include "base/threads.h"
#include "ops/rows.h"

namespace unrolled {
namespace {

constexpr Index kStatelessBlock = 256;
constexpr double kWorkspaceBytes = 64.0 * (1 << 20);

}  // namespace

Choice choose(const RunState& state, Index max_rows, int threads, bool shares) {
  Choice choice;
  // A number that the caller asks for is taken as it is; the default one only where it pays.
  if (threads > 0) {
    choice.threads = std::min(threads, kMaxThreads);
  } else if (shares) {
    choice.threads = num_threads();
  }
  if (!state.is_row_independent) return choice;

  const Index batch = state.inputs[0].shape.dims[0];
  const bool stays = is_resident(state.resident_bytes);
  choice.by_blocks = choice.threads > 1 && stays && batch >= std::max(4, 2 * choice.threads);
  const bool shares_operations = choice.threads > 1 && !choice.by_blocks;
  Index limit =
      state.has_sequential && !shares_operations ? rows_at_once(state.resident_bytes) : kStatelessBlock;
  const double affordable = std::max(1.0, kWorkspaceBytes / std::max(1.0, state.row_bytes));
  if (affordable < static_cast<double>(limit)) limit = static_cast<Index>(affordable);
  if (max_rows > 0) limit = std::min(limit, max_rows);
  choice.blocks = (batch + limit - 1) / limit;
  if (choice.by_blocks) {
    choice.blocks = std::min(batch, (choice.blocks + choice.threads - 1) / choice.threads * choice.threads);
  }
  return choice;
}

}  // namespace unrolled
