// SPDX-License-Identifier: MIT
// Rows of a batch that lie scattered in tables, as the states of a pool's clients do.
#pragma once

#include <span>

#include "ops/op.h"
#include "plan/state_pool.h"

namespace unrolled {

// Row i of inputs from `first_input` on is row reads[i] of the table that the input points to, and row i of
// outputs from `first_output` on goes to row writes[i].
struct RowTables {
  std::size_t first_input = 0;
  std::size_t first_output = 0;
  std::span<const Index> reads;
  std::span<const Index> writes;
};

// Copies the rows of the tables that `rows` of the batch read side by side into `memory`, and points there;
// outputs get a place there too, from which scatter() takes them to the tables.
void gather(const RowTables& tables, const RunState& state, Range rows, AlignedBuffer& memory,
            std::span<const void*> from, std::span<void*> to);
void scatter(const RowTables& tables, const RunState& state, Range rows, const AlignedBuffer& memory,
             std::span<void* const> outputs);

}  // namespace unrolled
