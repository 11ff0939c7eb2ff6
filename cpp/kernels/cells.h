// SPDX-License-Identifier: MIT
// The cells: how each lays out its packed weights, and what it does with a tile of gate sums. Equations of
// Keras 3.15 keras/src/layers/rnn/{lstm,gru,simple_rnn}.py. Included by the per-ISA kernel files only.
#pragma once

#include "kernels/gemm.h"

namespace unrolled::kernels::UNROLLED_ISA_NAME {
namespace {

// A block is kLanes units. The columns of a part are ordered [block][gate of the part][lane], so that one
// tile holds all gates of its units. GRU with reset_before has two parts, because its third gate needs the
// reset gate of all units first.
struct CellPart {
  Index first_gate = 0;
  Index gates = 0;
};

template <CellKind K>
struct CellTraits {
  static constexpr Index kGates = 1;
  static constexpr int kPanelVectors = kWide;
  static constexpr int kParts = 1;
  static constexpr CellPart kPart[1] = {{0, 1}};
  // What threads share out and tiles cover: so many blocks, a whole number of panels of every part.
  static constexpr Index kGranuleBlocks = kWide;
};
template <>
struct CellTraits<CellKind::kLstm> {
  static constexpr Index kGates = 4;
  static constexpr int kPanelVectors = kWide;
  static constexpr int kParts = 1;
  static constexpr CellPart kPart[1] = {{0, 4}};
  static constexpr Index kGranuleBlocks = 1;
};
template <>
struct CellTraits<CellKind::kGruResetAfter> {
  static constexpr Index kGates = 3;
  static constexpr int kPanelVectors = 3;
  static constexpr int kParts = 1;
  static constexpr CellPart kPart[1] = {{0, 3}};
  static constexpr Index kGranuleBlocks = 1;
};
template <>
struct CellTraits<CellKind::kGruResetBefore> {
  static constexpr Index kGates = 3;
  static constexpr int kPanelVectors = kWide;
  static constexpr int kParts = 2;
  static constexpr CellPart kPart[2] = {{0, 2}, {2, 1}};
  static constexpr Index kGranuleBlocks = kWide;
};

// Packed weights: bias [vectors][kLanes], for GRU with reset_after the recurrent bias likewise, then the
// kernel and the recurrent kernel, part by part. Vectors of all parts are counted through: part 1 follows
// part 0.
template <CellKind K>
struct PackedCell {
  using Traits = CellTraits<K>;
  Index features;
  Index units;
  Index blocks;
  Index vectors;
  const float* bias;
  const float* recurrent_bias;
  const float* kernel;
  const float* recurrent;
  Depth kernel_depth;
  Depth recurrent_depth;

  PackedCell(const CellShape& shape, const float* packed)
      : features(shape.features),
        units(shape.units),
        blocks(ceil_divide(shape.units, kLanes)),
        vectors(blocks * Traits::kGates),
        bias(packed),
        recurrent_bias(bias + round_up(vectors * kLanes, kAlignedFloats)),
        kernel(K == CellKind::kGruResetAfter ? recurrent_bias + round_up(vectors * kLanes, kAlignedFloats)
                                             : recurrent_bias),
        recurrent(kernel + packed_floats(features, vectors)),
        kernel_depth(features),
        recurrent_depth(units) {}

  Index floats() const { return recurrent + packed_floats(units, vectors) - bias; }
  Index padded_units() const { return blocks * kLanes; }

  static constexpr Index gates(int part) { return Traits::kPart[part].gates; }
  // Where a part's vectors begin among all vectors.
  Index first_vector(int part) const { return blocks * Traits::kPart[part].first_gate; }

  PackedMatrix<Traits::kPanelVectors> kernel_part(int part) const {
    return {kernel + first_vector(part) * features * kLanes, kernel_depth};
  }
  PackedMatrix<Traits::kPanelVectors> recurrent_part(int part) const {
    return {recurrent + first_vector(part) * units * kLanes, recurrent_depth};
  }
};

template <CellKind K>
void pack_cell_of(const CellShape& shape, const CellWeights& weights, float* packed) {
  using Traits = CellTraits<K>;
  const PackedCell<K> cell(shape, packed);
  const Index units = shape.units;
  const Index columns = Traits::kGates * units;
  for (Index i = 0; i < cell.floats(); ++i) packed[i] = 0.0f;
  for (int part = 0; part < Traits::kParts; ++part) {
    const Index gates = cell.gates(part);
    const auto source = [&](Index v, Index lane) {
      const Index unit = (v / gates) * kLanes + lane;
      return unit < units ? (Traits::kPart[part].first_gate + v % gates) * units + unit : -1;
    };
    const Index vectors = cell.blocks * gates;
    const Index first = cell.first_vector(part);
    // The sections are those of `packed`, seen through PackedCell as const.
    const auto section = [&](const float* begin, Index depth) {
      return packed + (begin - packed) + first * depth * kLanes;
    };
    pack_bias(weights.bias, vectors, section(cell.bias, 1), source);
    if constexpr (K == CellKind::kGruResetAfter) {
      const float* second_row = weights.bias == nullptr ? nullptr : weights.bias + columns;
      pack_bias(second_row, vectors, section(cell.recurrent_bias, 1), source);
    }
    pack_columns<Traits::kPanelVectors>(weights.kernel, shape.features, columns, vectors,
                                        section(cell.kernel, shape.features), source);
    pack_columns<Traits::kPanelVectors>(weights.recurrent_kernel, units, columns, vectors,
                                        section(cell.recurrent, units), source);
  }
}

// Some rows of the state and of this step's output, from the first unit of a tile on. `stride` is that of
// every state buffer, which have padded_units per row; only `units` columns of the output exist.
struct StateRows {
  const float* h;
  float* h_next;
  float* c;  // LSTM: the cell state, updated in place
  Index stride;
  float* output;  // null: this step's output is not asked for
  Index output_stride;
  Index units;
  const std::uint8_t* mask;  // null: nothing is masked
  Index mask_stride;
  const Index* first_unmasked;  // per row; null: masked steps output zeros
  Index step;

  UNROLLED_INLINE bool masked(Index row) const { return mask != nullptr && mask[row * mask_stride] == 0; }
};

// A row of `units` floats from `unit` on, zeros beyond its end.
UNROLLED_INLINE Vector load_units(const float* from, Index unit, Index units) {
  return unit + kLanes <= units ? Vector::load(from + unit) : Vector::load_first(from + unit, units - unit);
}

UNROLLED_INLINE void store_units(float* to, Index unit, Index units, Vector v) {
  if (unit + kLanes <= units) {
    v.store(to + unit);
  } else if (unit < units) {
    v.store_first(to + unit, units - unit);
  }
}

UNROLLED_INLINE void put_hidden(const StateRows& s, Index row, Index unit, Vector h) {
  h.store(s.h_next + row * s.stride + unit);
  if (s.output != nullptr) store_units(s.output + row * s.output_stride, unit, s.units, h);
}

// Keeps the state of a masked row; Keras repeats its previous output, which is 0 before the first unmasked
// step.
UNROLLED_INLINE void keep_hidden(const StateRows& s, Index row, Index blocks) {
  const bool repeats = s.first_unmasked != nullptr && s.step >= s.first_unmasked[row];
  for (Index unit = 0; unit < blocks * kLanes; unit += kLanes) {
    const Vector h = Vector::load(s.h + row * s.stride + unit);
    h.store(s.h_next + row * s.stride + unit);
    if (s.output != nullptr) {
      store_units(s.output + row * s.output_stride, unit, s.units, repeats ? h : Vector::zero());
    }
  }
}

// SimpleRNN: h' = f(z); tile [row][block][lane].
template <bool kTanhSigmoid>
UNROLLED_INLINE void finish_simple_rnn(const CellShape& shape, float* tile, Index tile_stride, Index rows,
                                       Index blocks, const StateRows& s) {
  if constexpr (!kTanhSigmoid)
    activate_rows(shape.activation, tile, tile, rows, tile_stride, blocks * kLanes);
  for (Index m = 0; m < rows; ++m) {
    if (s.masked(m)) {
      keep_hidden(s, m, blocks);
      continue;
    }
    const float* z = tile + m * tile_stride;
    for (Index unit = 0; unit < blocks * kLanes; unit += kLanes) {
      const Vector v = Vector::load(z + unit);
      put_hidden(s, m, unit, kTanhSigmoid ? tanh(v) : v);
    }
  }
}

// LSTM: c' = f c + i g, h' = o phi(c'); tile [row][block][i, f, g, o][lane].
template <bool kTanhSigmoid>
UNROLLED_INLINE void finish_lstm(const CellShape& shape, float* tile, Index tile_stride, Index rows,
                                 Index blocks, const StateRows& s) {
  constexpr Index kGate = kLanes;
  for (Index b = 0; b < blocks; ++b) {
    float* gates = tile + b * 4 * kLanes;
    if constexpr (!kTanhSigmoid) {
      const Activation& recurrent = shape.recurrent_activation;
      activate_rows(recurrent, gates, gates, rows, tile_stride, 2 * kLanes);
      activate_rows(shape.activation, gates + 2 * kGate, gates + 2 * kGate, rows, tile_stride, kLanes);
      activate_rows(recurrent, gates + 3 * kGate, gates + 3 * kGate, rows, tile_stride, kLanes);
      // phi(c') goes where g stood.
      for (Index m = 0; m < rows; ++m) {
        float* z = gates + m * tile_stride;
        float* c = s.c + m * s.stride + b * kLanes;
        const Vector kept = Vector::load(z + kGate) * Vector::load(c);
        const Vector c_next = fma(Vector::load(z), Vector::load(z + 2 * kGate), kept);
        if (!s.masked(m)) c_next.store(c);
        c_next.store(z + 2 * kGate);
      }
      activate_rows(shape.activation, gates + 2 * kGate, gates + 2 * kGate, rows, tile_stride, kLanes);
    }
    for (Index m = 0; m < rows; ++m) {
      if (s.masked(m)) continue;
      const float* z = gates + m * tile_stride;
      if constexpr (kTanhSigmoid) {
        float* c = s.c + m * s.stride + b * kLanes;
        const Vector kept = sigmoid(Vector::load(z + kGate)) * Vector::load(c);
        const Vector c_next = fma(sigmoid(Vector::load(z)), tanh(Vector::load(z + 2 * kGate)), kept);
        c_next.store(c);
        put_hidden(s, m, b * kLanes, sigmoid(Vector::load(z + 3 * kGate)) * tanh(c_next));
      } else {
        put_hidden(s, m, b * kLanes, Vector::load(z + 3 * kGate) * Vector::load(z + 2 * kGate));
      }
    }
  }
  if (s.mask != nullptr) {
    for (Index m = 0; m < rows; ++m) {
      if (s.masked(m)) keep_hidden(s, m, blocks);
    }
  }
}

// h' = z h + (1 - z) candidate, exact at z = 1
UNROLLED_INLINE Vector gru_mix(Vector z, Vector h, Vector candidate) {
  return fma(z, h, (Vector::all(1.0f) - z) * candidate);
}

// GRU, reset_after: z, r = sigma(a + s), candidate = phi(a_h + r s_h); tiles of the input part a and of the
// recurrent part s, both [row][block][z, r, h][lane]; a is overwritten.
template <bool kTanhSigmoid>
UNROLLED_INLINE void finish_gru_reset_after(const CellShape& shape, float* input, Index input_stride,
                                            const float* tile, Index tile_stride, Index rows, Index blocks,
                                            const StateRows& s) {
  constexpr Index kGate = kLanes;
  for (Index b = 0; b < blocks; ++b) {
    float* a0 = input + b * 3 * kLanes;
    const float* s0 = tile + b * 3 * kLanes;
    if constexpr (!kTanhSigmoid) {
      for (Index m = 0; m < rows; ++m) {
        float* a = a0 + m * input_stride;
        const float* r = s0 + m * tile_stride;
        (Vector::load(a) + Vector::load(r)).store(a);
        (Vector::load(a + kGate) + Vector::load(r + kGate)).store(a + kGate);
      }
      activate_rows(shape.recurrent_activation, a0, a0, rows, input_stride, 2 * kLanes);
      for (Index m = 0; m < rows; ++m) {
        float* a = a0 + m * input_stride;
        const Vector recurrent = Vector::load(s0 + m * tile_stride + 2 * kGate);
        fma(Vector::load(a + kGate), recurrent, Vector::load(a + 2 * kGate)).store(a + 2 * kGate);
      }
      activate_rows(shape.activation, a0 + 2 * kGate, a0 + 2 * kGate, rows, input_stride, kLanes);
    }
    for (Index m = 0; m < rows; ++m) {
      if (s.masked(m)) continue;
      const float* a = a0 + m * input_stride;
      const float* r = s0 + m * tile_stride;
      const Vector h = Vector::load(s.h + m * s.stride + b * kLanes);
      if constexpr (kTanhSigmoid) {
        const Vector reset = sigmoid(Vector::load(a + kGate) + Vector::load(r + kGate));
        const Vector candidate = tanh(fma(reset, Vector::load(r + 2 * kGate), Vector::load(a + 2 * kGate)));
        const Vector z = sigmoid(Vector::load(a) + Vector::load(r));
        put_hidden(s, m, b * kLanes, gru_mix(z, h, candidate));
      } else {
        put_hidden(s, m, b * kLanes, gru_mix(Vector::load(a), h, Vector::load(a + 2 * kGate)));
      }
    }
  }
  if (s.mask != nullptr) {
    for (Index m = 0; m < rows; ++m) {
      if (s.masked(m)) keep_hidden(s, m, blocks);
    }
  }
}

// GRU, reset_before, first half: the update gate into `update` and r h into `reset_hidden`, both with rows of
// s.stride; tile [row][block][z, r][lane].
template <bool kTanhSigmoid>
UNROLLED_INLINE void finish_gru_gates(const CellShape& shape, float* tile, Index tile_stride, Index rows,
                                      Index blocks, const StateRows& s, float* update, float* reset_hidden) {
  if constexpr (!kTanhSigmoid) {
    activate_rows(shape.recurrent_activation, tile, tile, rows, tile_stride, blocks * 2 * kLanes);
  }
  for (Index m = 0; m < rows; ++m) {
    for (Index b = 0; b < blocks; ++b) {
      const float* gates = tile + m * tile_stride + b * 2 * kLanes;
      Vector z = Vector::load(gates);
      Vector r = Vector::load(gates + kLanes);
      if constexpr (kTanhSigmoid) {
        z = sigmoid(z);
        r = sigmoid(r);
      }
      const Index at = m * s.stride + b * kLanes;
      z.store(update + at);
      (r * Vector::load(s.h + at)).store(reset_hidden + at);
    }
  }
}

// GRU, reset_before, second half: h' from the candidate's sums, tile [row][block][lane].
template <bool kTanhSigmoid>
UNROLLED_INLINE void finish_gru_candidate(const CellShape& shape, float* tile, Index tile_stride, Index rows,
                                          Index blocks, const StateRows& s, const float* update) {
  if constexpr (!kTanhSigmoid)
    activate_rows(shape.activation, tile, tile, rows, tile_stride, blocks * kLanes);
  for (Index m = 0; m < rows; ++m) {
    if (s.masked(m)) {
      keep_hidden(s, m, blocks);
      continue;
    }
    for (Index unit = 0; unit < blocks * kLanes; unit += kLanes) {
      const Vector v = Vector::load(tile + m * tile_stride + unit);
      const Index at = m * s.stride + unit;
      put_hidden(s, m, unit,
                 gru_mix(Vector::load(update + at), Vector::load(s.h + at), kTanhSigmoid ? tanh(v) : v));
    }
  }
}

}  // namespace
}  // namespace unrolled::kernels::UNROLLED_ISA_NAME
