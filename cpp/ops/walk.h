// SPDX-License-Identifier: MIT
// Walks over all elements of a tensor in row-major order while N operands follow with strides of their own
// (0 along axes that an operand repeats). For cpp/ops only.
#pragma once

#include <algorithm>
#include <vector>

#include "base/tensor.h"
#include "ops/op.h"

namespace unrolled {

template <int N>
struct Walk {
  int rank = 0;                     // never 0 once used: see rows()
  Index dims[kMaxRank] = {};        // innermost first
  Index strides[N][kMaxRank] = {};  // in elements

  // Adds the next axis outwards. Axes that every operand steps through as through one longer axis are
  // merged, so that most walks have one or two.
  void push(Index size, const Index (&own)[N]) {
    if (size == 1) return;
    bool merges = rank > 0;
    for (int n = 0; n < N; ++n) merges = merges && own[n] == strides[n][rank - 1] * dims[rank - 1];
    if (merges) {
      dims[rank - 1] *= size;
      return;
    }
    dims[rank] = size;
    for (int n = 0; n < N; ++n) strides[n][rank] = own[n];
    ++rank;
  }

  Index inner_stride(int n) const { return rank == 0 ? 0 : strides[n][0]; }

  Index count() const {
    Index product = 1;
    for (int axis = 0; axis < rank; ++axis) product *= dims[axis];
    return product;
  }

  // Calls body(position, offsets of the operands, count) for each run along the innermost axis within `range`
  // of the positions; all dims are at least 1.
  template <typename Body>
  void rows(Range range, Body body) const {
    if (range.begin >= range.end) return;
    Index at[kMaxRank] = {};
    Index rest = range.begin;
    for (int axis = 0; axis < rank; ++axis) {
      at[axis] = rest % dims[axis];
      rest /= dims[axis];
    }
    const Index inner = rank == 0 ? 1 : dims[0];
    for (Index position = range.begin; position < range.end;) {
      Index offsets[N] = {};
      for (int n = 0; n < N; ++n) {
        for (int axis = 0; axis < rank; ++axis) offsets[n] += at[axis] * strides[n][axis];
      }
      const Index count = std::min(inner - at[0], range.end - position);
      body(position, offsets, count);
      position += count;
      at[0] = 0;
      for (int axis = 1; axis < rank; ++axis) {
        if (++at[axis] < dims[axis]) break;
        at[axis] = 0;
      }
    }
  }
};

// The walks over the kept and the reduced axes of `shape`; the operand is the tensor itself.
struct AxisWalks {
  Walk<1> kept;
  Walk<1> reduced;
  bool has_axis[kMaxRank] = {};

  // `axes` in [-rank, rank).
  AxisWalks(const Shape& shape, const std::vector<Index>& axes, const char* what) {
    for (const Index axis : axes) has_axis[normalize_axis(axis, shape.rank, what)] = true;
    Index stride = 1;
    for (int axis = shape.rank - 1; axis >= 0; --axis) {
      (has_axis[axis] ? reduced : kept).push(shape.dims[axis], {stride});
      stride *= shape.dims[axis];
    }
  }
};

// [batch, time, ...] without its time axis, or with one of size 1.
inline TensorType without_time(const TensorType& x, bool keepdims) {
  TensorType y{x.dtype, {}};
  for (int axis = 0; axis < x.shape.rank; ++axis) {
    if (axis != 1 || keepdims) y.shape.dims[y.shape.rank++] = axis == 1 ? 1 : x.shape.dims[axis];
  }
  return y;
}

// A tensor as [outer, size, inner] around one axis.
struct AxisSplit {
  Index outer = 1;
  Index size = 1;
  Index inner = 1;

  AxisSplit(const Shape& shape, int axis)
      : outer(product(shape, 0, axis)), size(shape.dims[axis]), inner(product(shape, axis + 1, shape.rank)) {}
};

}  // namespace unrolled
