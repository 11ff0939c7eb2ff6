// SPDX-License-Identifier: MIT
// Long matrix products in pieces of rows, between which a run can be stopped. For cpp/ops only.
#pragma once

#include "kernels/table.h"
#include "ops/op.h"

namespace unrolled {

// Rows of a product that take some 10 ms, in whole tiles; results do not depend on it.
inline Index rows_between_stops(Index depth, Index columns) {
  constexpr double kOperations = 2e8;
  constexpr Index kTileRows = 12;
  const double rows = kOperations / (static_cast<double>(depth) * static_cast<double>(columns));
  return std::max<Index>(static_cast<Index>(rows) / kTileRows, 4) * kTileRows;
}

inline void run_product(const kernels::KernelTable& table, kernels::DenseArguments arguments,
                        const Team& team) {
  const Index piece = rows_between_stops(arguments.shape.depth, arguments.shape.columns);
  for (Index left = arguments.rows; left > 0; left -= piece) {
    arguments.rows = std::min(left, piece);
    table.dense(arguments);
    if (left > piece && should_stop(team)) return;
    arguments.x += piece * arguments.x_row_stride;
    arguments.y += piece * arguments.y_row_stride;
  }
}

}  // namespace unrolled
