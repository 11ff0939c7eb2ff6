// SPDX-License-Identifier: MIT
// Packed matrices, the one product kernel, and Dense. Included by the per-ISA kernel files only.
//
// The rule that fixes every bit: a result starts at its bias (or at what an earlier product left) and adds
// the products of a chunk of consecutive k at a time (Depth); each chunk is summed from zero by fma with k
// ascending.
// Lanes run along columns only. So a row's result depends on nothing but that row, however rows, columns and
// threads are arranged.
#pragma once

#include "kernels/activations.h"

namespace unrolled::kernels::UNROLLED_ISA_NAME {
namespace {

inline constexpr Index kAlignedFloats = 16;  // one cache line

UNROLLED_INLINE constexpr Index ceil_divide(Index a, Index b) { return (a + b - 1) / b; }
UNROLLED_INLINE constexpr Index round_up(Index a, Index b) { return ceil_divide(a, b) * b; }
UNROLLED_INLINE constexpr Index smaller(Index a, Index b) { return a < b ? a : b; }

// How many products make a sum, and in chunks of how many. One long chain of rounding errors would exceed the
// accuracy promise, but the end of a chunk stalls the pipeline: on Zen 4, chunks of 64 cost 5% of the speed
// of products in cache, 256 cost 1%. So: the fewest equal chunks of at most 256, but two beyond 64 (in a GRU
// of 128 units with saturated gates, one of 128 tripled the error).
struct Depth {
  Index size;
  Index chunk;

  UNROLLED_INLINE explicit Depth(Index size_) : size(size_), chunk(size_) {
    if (size > 64) chunk = ceil_divide(size, size <= 512 ? 2 : ceil_divide(size, 256));
  }
};

// Vectors side by side in one panel: what the registers allow beside a tile of several rows. Dense,
// SimpleRNN, LSTM use kWide; GRU, with its three gates, 3.
inline constexpr int kWide = kRegisters == 32 ? 4 : 2;
// Rows of a tile, so that accumulators, weights and one broadcast value fit.
template <int S>
inline constexpr int kTileRows = kRegisters == 32 ? (S == 3 ? 8 : 6) : (S == 3 ? 4 : 6);

// Columns are grouped in vectors of kLanes, S to a panel, packed [panel][k][S][kLanes].
// The last panel holds the vectors that remain. So vector v of panel p starts at (p * S) * depth * kLanes.
template <int S>
struct PackedMatrix {
  const float* data;
  Depth depth;

  UNROLLED_INLINE const float* panel(Index first_vector) const {
    return data + first_vector * depth.size * kLanes;
  }
};

inline Index packed_floats(Index depth, Index vectors) {
  return round_up(depth * vectors * kLanes, kAlignedFloats);
}

// Tiles with so many sums per k have loads to spare for prefetches.
template <int M, int S>
inline constexpr bool kPrefetches = M * S * kLanes >= 8 * kRegisters;

// tile[m][v][lane] = init[m][v][lane] + sum_k a[m][k] w[k][v][lane] for M rows and P adjacent panels of S
// vectors. init may be the tile itself.
template <int M, int S, int P>
UNROLLED_INLINE void multiply_tile(const float* w, Depth depth, const float* a, Index a_stride,
                                   const float* init, Index init_stride, float* tile, Index tile_stride,
                                   const float* ahead, Index ahead_stride, Index ahead_second) {
  constexpr int kColumns = P * S;
  const Index panel_floats = depth.size * S * kLanes;
  if (depth.size == 0 && init != tile) {
    for (int m = 0; m < M; ++m) {
      for (int v = 0; v < kColumns; ++v) {
        Vector::load(init + m * init_stride + v * kLanes).store(tile + m * tile_stride + v * kLanes);
      }
    }
  }
  for (Index begin = 0; begin < depth.size; begin += depth.chunk) {
    const Index end = smaller(begin + depth.chunk, depth.size);
    Vector sum[M][kColumns];
    unroll<M * kColumns>([&](auto i)
                             UNROLLED_INLINE_LAMBDA { sum[i / kColumns][i % kColumns] = Vector::zero(); });
    for (Index k = begin; k < end; ++k) {
      if constexpr (kPrefetches<M, S>) {
        prefetch(ahead + k * ahead_stride);
        prefetch(ahead + k * ahead_stride + ahead_second);
      }
      Vector weight[kColumns];
      unroll<kColumns>([&](auto v) UNROLLED_INLINE_LAMBDA {
        weight[v] = Vector::load(w + (v / S) * panel_floats + (k * S + v % S) * kLanes);
      });
      unroll<M>([&](auto m) UNROLLED_INLINE_LAMBDA {
        const Vector value = Vector::all(a[m * a_stride + k]);
        unroll<kColumns>([&](auto v)
                             UNROLLED_INLINE_LAMBDA { sum[m][v] = fma(value, weight[v], sum[m][v]); });
      });
    }
    const float* from = init;
    float* to = tile;
    unroll<M>([&](auto m) UNROLLED_INLINE_LAMBDA {
      unroll<kColumns>([&](auto v) UNROLLED_INLINE_LAMBDA {
        (Vector::load(from + v * kLanes) + sum[m][v]).store(to + v * kLanes);
      });
      // Or every address would be computed ahead of the loop, and spilled.
      from = hidden_from_compiler(from + init_stride);
      to = hidden_from_compiler(to + tile_stride);
    });
    init = tile;
    init_stride = tile_stride;
  }
}

// The operands of one product of `rows` rows (at most kTileRows<S>) with vectors first .. last of a matrix;
// `first` is the beginning of a panel. init and tile point at the column of vector `first`.
struct Product {
  const float* a;
  Index a_stride;
  Index rows;
  const float* init;
  Index init_stride;
  float* tile;
  Index tile_stride;
  // Not 0: the panels so many vectors further come next, and this is block `ahead_block` of `ahead_blocks`
  // row blocks that each bring a slice of them to the second-level cache.
  Index ahead_vectors = 0;
  Index ahead_block = 0;
  Index ahead_blocks = 1;
};

template <int M, int S, int P>
UNROLLED_NO_INLINE void multiply_panels(const float* w, Depth depth, const Product& p, Index offset) {
  const float* ahead = w;  // in the first-level cache already: costs nothing
  Index ahead_stride = 0;
  Index ahead_second = 0;
  if constexpr (kPrefetches<M, S>) {
    constexpr Index kRowFloats = S * kLanes;
    // One line per k and row block where that is enough for a row of the panel, else two. (Every second line
    // of a row, whose neighbour the processor may bring along, is worse than none on Zen 4.)
    const bool is_one_enough = p.ahead_blocks * kAlignedFloats >= kRowFloats;
    const Index stride = is_one_enough ? kAlignedFloats : 2 * kAlignedFloats;
    if (p.ahead_vectors != 0 && p.ahead_block * stride < kRowFloats) {
      ahead = w + (p.ahead_vectors * kLanes + p.ahead_block * stride) * depth.size;
      ahead_stride = stride;
      ahead_second = is_one_enough ? 0 : kAlignedFloats;
    }
  }
  multiply_tile<M, S, P>(w, depth, p.a, p.a_stride, p.init + offset, p.init_stride, p.tile + offset,
                         p.tile_stride, ahead, ahead_stride, ahead_second);
}

template <int S>
UNROLLED_INLINE void multiply_panel(const float* w, Depth depth, const Product& p, Index offset) {
  switch (p.rows) {
    case 1:
      return multiply_panels<1, S, 1>(w, depth, p, offset);
    case 2:
      return multiply_panels<2, S, 1>(w, depth, p, offset);
    case 3:
      return multiply_panels<3, S, 1>(w, depth, p, offset);
    case 4:
      return multiply_panels<4, S, 1>(w, depth, p, offset);
    default:
      break;
  }
  if constexpr (kTileRows<S> >= 6) {
    if (p.rows == 5) return multiply_panels<5, S, 1>(w, depth, p, offset);
    if (p.rows == 6) return multiply_panels<6, S, 1>(w, depth, p, offset);
  }
  if constexpr (kTileRows<S> >= 8) {
    if (p.rows == 7) return multiply_panels<7, S, 1>(w, depth, p, offset);
    if (p.rows == 8) return multiply_panels<8, S, 1>(w, depth, p, offset);
  }
}

// A single row takes several panels at once: enough independent sums to hide the latency of fma.
template <int S>
inline constexpr int kSingleRowPanels = S == 2 ? 4 : 3;

template <int S, int P>
UNROLLED_INLINE void multiply_single_row(const float* w, Depth depth, Index panels, const Product& p) {
  if constexpr (P > 1) {
    if (panels < P) return multiply_single_row<S, P - 1>(w, depth, panels, p);
  }
  multiply_panels<1, S, P>(w, depth, p, 0);
}

template <int S>
void multiply(const PackedMatrix<S>& matrix, Index first, Index last, const Product& p) {
  const Depth depth = matrix.depth;
  Index v = first;
  if (p.rows == 1) {
    const Index panels = (last - first) / S;
    if (panels > 0 && panels <= kSingleRowPanels<S>) {
      multiply_single_row<S, kSingleRowPanels<S>>(matrix.panel(v), depth, panels, p);
      v += panels * S;
    }
  }
  for (; v + S <= last; v += S) multiply_panel<S>(matrix.panel(v), depth, p, (v - first) * kLanes);
  if (v < last) {
    const Index offset = (v - first) * kLanes;
    if (last - v == 1) return multiply_panel<1>(matrix.panel(v), depth, p, offset);
    if constexpr (S >= 3) {
      if (last - v == 2) return multiply_panel<2>(matrix.panel(v), depth, p, offset);
    }
    if constexpr (S >= 4) {
      if (last - v == 3) return multiply_panel<3>(matrix.panel(v), depth, p, offset);
    }
  }
}

// Items in as few blocks as hold at most `largest` each, of equal size (8 as 4 + 4, not 6 + 2).
struct EqualBlocks {
  Index count;
  Index size;    // of the smaller ones
  Index larger;  // the first so many hold one item more

  UNROLLED_INLINE EqualBlocks(Index items, Index largest)
      : count(ceil_divide(items, largest)),
        size(count > 0 ? items / count : 0),
        larger(count > 0 ? items % count : 0) {}
  UNROLLED_INLINE Index begin(Index block) const { return block * size + smaller(block, larger); }
};

// `lane_source(v, lane)` gives the source column of a lane of vector v, or -1 for padding.
template <int S, class LaneSource>
void pack_columns(const float* source, Index depth, Index columns, Index vectors, float* packed,
                  LaneSource lane_source) {
  for (Index v0 = 0; v0 < vectors; v0 += S) {
    const Index width = smaller(S, vectors - v0);
    for (Index k = 0; k < depth; ++k) {
      for (Index v = v0; v < v0 + width; ++v) {
        for (Index lane = 0; lane < kLanes; ++lane) {
          const Index column = lane_source(v, lane);
          *packed++ = column < 0 ? 0.0f : source[k * columns + column];
        }
      }
    }
  }
}

// The bias of all vectors in order, zeros where there is none.
template <class LaneSource>
void pack_bias(const float* bias, Index vectors, float* packed, LaneSource lane_source) {
  for (Index v = 0; v < vectors; ++v) {
    for (Index lane = 0; lane < kLanes; ++lane) {
      const Index column = lane_source(v, lane);
      *packed++ = bias == nullptr || column < 0 ? 0.0f : bias[column];
    }
  }
}

// Dense: packed as the bias [vectors][kLanes], then the matrix.

UNROLLED_INLINE Index dense_vectors(const DenseShape& shape) { return ceil_divide(shape.columns, kLanes); }
UNROLLED_INLINE Index dense_bias_floats(const DenseShape& shape) {
  return round_up(dense_vectors(shape) * kLanes, kAlignedFloats);
}

Index dense_panels(const DenseShape& shape) { return ceil_divide(dense_vectors(shape), kWide); }

Index dense_packed_floats(const DenseShape& shape) {
  return dense_bias_floats(shape) + packed_floats(shape.depth, dense_vectors(shape));
}

void pack_dense(const DenseShape& shape, const float* kernel, const float* bias, float* packed) {
  const auto source = [&](Index v, Index lane) {
    const Index column = v * kLanes + lane;
    return column < shape.columns ? column : -1;
  };
  const Index vectors = dense_vectors(shape);
  pack_bias(bias, vectors, packed, source);
  pack_columns<kWide>(kernel, shape.depth, shape.columns, vectors, packed + dense_bias_floats(shape), source);
}

void dense(const DenseArguments& d) {
  const Index vectors = dense_vectors(d.shape);
  const PackedMatrix<kWide> matrix{d.packed + dense_bias_floats(d.shape), Depth(d.shape.depth)};
  const EqualBlocks blocks(d.rows, kTileRows<kWide>);
  alignas(64) float tile[kTileRows<kWide> * kWide * kLanes];
  constexpr Index kTileStride = kWide * kLanes;
  const Index step = d.rows == 1 ? kSingleRowPanels<kWide> : 1;
  for (Index panel = d.panel_begin; panel < d.panel_end; panel += step) {
    const Index first = panel * kWide;
    const Index last = smaller(smaller(panel + step, d.panel_end) * kWide, vectors);
    const Index column = first * kLanes;
    const Index columns = smaller(last * kLanes, d.shape.columns) - column;
    for (Index block = 0; block < blocks.count; ++block) {
      const Index r = blocks.begin(block);
      const Index rows = blocks.begin(block + 1) - r;
      multiply(
          matrix, first, last,
          Product{d.x + r * d.x_row_stride, d.x_row_stride, rows, d.packed + column, 0, tile, kTileStride});
      activate_rows(d.activation, tile, tile, rows, kTileStride, (last - first) * kLanes);
      for (Index m = 0; m < rows; ++m) {
        float* y = d.y + (r + m) * d.y_row_stride + column;
        Index i = 0;
        for (; i + kLanes <= columns; i += kLanes) Vector::load(tile + m * kTileStride + i).store(y + i);
        if (i < columns) Vector::load(tile + m * kTileStride + i).store_first(y + i, columns - i);
      }
    }
  }
}

}  // namespace
}  // namespace unrolled::kernels::UNROLLED_ISA_NAME
