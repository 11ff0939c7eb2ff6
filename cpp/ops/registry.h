// SPDX-License-Identifier: MIT
// The list of all operations, one line for each file in which they are stated.
#pragma once

#include "ops/op.h"

// clang-format off
#define UNROLLED_FOR_EACH_OPERATION(X) \
  X(dense) \
  X(recurrent) \
  X(scan) \
  X(embedding) \
  X(convolution) \
  X(pool) \
  X(reduce) X(masked_mean) \
  X(running_mean) \
  X(activate) \
  X(softmax) X(sparsemax) \
  X(binary) X(logical_not) X(select) \
  X(apply_mask) X(cast) X(ones_like) \
  X(batch_normalization) X(layer_normalization) \
  X(reshape) X(merge_time) X(split_time) X(expand_dims) X(squeeze) \
  X(transpose) X(slice) X(pad) X(repeat) X(concatenate) \
  X(matmul)
// clang-format on

namespace unrolled::records {

using enum Kind;
using enum Memory;

#define UNROLLED_DECLARE(name) OpRecord name();
UNROLLED_FOR_EACH_OPERATION(UNROLLED_DECLARE)
#undef UNROLLED_DECLARE

}  // namespace unrolled::records

namespace unrolled {

// Of one item of the argument `directions` of recurrent.
const Schema& direction_schema();

}  // namespace unrolled
