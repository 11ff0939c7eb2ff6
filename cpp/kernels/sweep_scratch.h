// SPDX-License-Identifier: MIT
// How many timesteps a sweep projects at once, and where its scratch memory lies. Included by recurrent.h
// only.
#pragma once

#include "kernels/single_row.h"

namespace unrolled::kernels::UNROLLED_ISA_NAME {
namespace {

// The input part x W + b of several timesteps is computed at once, for about so many rows of gate sums, where
// that reads the kernel less often: with few rows to a step.
inline constexpr Index kProjectedRows = 96;

struct Projection {
  Index steps;  // timesteps projected at once; 0: each step adds its own input part
};

template <CellKind K>
UNROLLED_INLINE Projection choose_projection(Index batch, Index timesteps, int team_size) {
  const Index steps =
      smaller(kProjectedRows > batch ? kProjectedRows / batch : 1, timesteps > 0 ? timesteps : 1);
  if (K == CellKind::kGruResetBefore) return {steps};
  if (batch == 1) return {steps};
  const bool pays = timesteps > 1 && (team_size > 1 ? batch < kProjectedRows : batch < kTileRows<kWide>);
  return {pays ? steps : 0};
}

// Scratch, in this order, every section a whole number of cache lines: hidden state twice (read, written) and
// the cell state (or r h), then z, each [batch][padded units]; the projected input
// [steps][batch][vectors][kLanes]; and the first unmasked step of each row, once per thread.
template <CellKind K>
struct ScratchLayout {
  Index state_floats;
  Index projected_floats;
  Index first_unmasked_bytes;

  ScratchLayout(const PackedCell<K>& cell, Index batch, Index timesteps, int team_size)
      : state_floats(round_up(batch * cell.padded_units(), kAlignedFloats)),
        projected_floats(
            round_up(choose_projection<K>(batch, timesteps, team_size).steps * batch * cell.vectors * kLanes,
                     kAlignedFloats)),
        first_unmasked_bytes(round_up(batch * static_cast<Index>(sizeof(Index)), 64)) {}

  Index bytes(int team_size) const {
    return (4 * state_floats + projected_floats) * static_cast<Index>(sizeof(float)) +
           team_size * first_unmasked_bytes;
  }
};

// Enough for every smaller batch and team too, which may project more timesteps at once.
template <CellKind K>
Index sweep_scratch_bytes_of(const CellShape& shape, Index batch, Index timesteps, int team_size) {
  const PackedCell<K> cell(shape, nullptr);
  ScratchLayout<K> layout(cell, batch, timesteps, team_size);
  const Index some_rows = smaller(kProjectedRows, batch * (timesteps > 0 ? timesteps : 1));
  const Index rows = K == CellKind::kGruResetBefore && batch > some_rows ? batch : some_rows;
  layout.projected_floats = round_up(rows * cell.vectors * kLanes, kAlignedFloats);
  return layout.bytes(team_size);
}

}  // namespace
}  // namespace unrolled::kernels::UNROLLED_ISA_NAME
