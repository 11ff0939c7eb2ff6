// SPDX-License-Identifier: MIT
// The kernel table of one ISA: compiled once per row of cmake/isa_variants.cmake, under that ISA's flags and
// namespace. The table is the only external symbol.
#include "kernels/recurrent.h"

namespace unrolled::kernels::UNROLLED_ISA_NAME {
namespace {

#define UNROLLED_QUOTE(name) #name
#define UNROLLED_STRING(name) UNROLLED_QUOTE(name)

// Calls f with the cell kind as a compile-time constant.
template <class F>
UNROLLED_INLINE auto with_kind(CellKind kind, F f) {
  switch (kind) {
    case CellKind::kSimpleRnn:
      break;
    case CellKind::kLstm:
      return f.template operator()<CellKind::kLstm>();
    case CellKind::kGruResetAfter:
      return f.template operator()<CellKind::kGruResetAfter>();
    case CellKind::kGruResetBefore:
      return f.template operator()<CellKind::kGruResetBefore>();
  }
  return f.template operator()<CellKind::kSimpleRnn>();
}

Index cell_packed_floats(const CellShape& shape) {
  return with_kind(shape.kind, [&]<CellKind K>() { return PackedCell<K>(shape, nullptr).floats(); });
}

void pack_cell(const CellShape& shape, const CellWeights& weights, float* packed) {
  with_kind(shape.kind, [&]<CellKind K>() { pack_cell_of<K>(shape, weights, packed); });
}

Index sweep_scratch_bytes(const CellShape& shape, Index batch, Index timesteps, int team_size) {
  return with_kind(shape.kind, [&]<CellKind K>() {
    return sweep_scratch_bytes_of<K>(shape, batch, timesteps, team_size);
  });
}

void sweep(const SweepArguments& arguments) {
  with_kind(arguments.shape.kind, [&]<CellKind K>() { sweep_of<K>(arguments); });
}

void activate(const Activation& activation, const float* x, float* y, Index count) {
  activate_rows(activation, x, y, 1, 0, count);
}

}  // namespace

extern const KernelTable kernel_table;
constinit const KernelTable kernel_table = {
    UNROLLED_STRING(UNROLLED_ISA_NAME),
    kLanes,
    dense_panels,
    dense_packed_floats,
    pack_dense,
    dense,
    cell_packed_floats,
    pack_cell,
    sweep_scratch_bytes,
    sweep,
    activate,
    softmax_rows,
};

}  // namespace unrolled::kernels::UNROLLED_ISA_NAME
