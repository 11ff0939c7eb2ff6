// SPDX-License-Identifier: MIT
// The list of all operations. Each is stated in its own file; here is one line for it.
#pragma once

#include "ops/op.h"

#define UNROLLED_FOR_EACH_OPERATION(X) \
  X(dense)                             \
  X(recurrent)                         \
  X(scan)                              \
  X(embedding)                         \
  X(convolution)                       \
  X(pool)                              \
  X(reduce)                            \
  X(masked_mean)                       \
  X(running_mean)                      \
  X(activate)                          \
  X(softmax)                           \
  X(sparsemax)                         \
  X(binary)                            \
  X(logical_not)                       \
  X(select)                            \
  X(apply_mask)                        \
  X(batch_normalization)               \
  X(layer_normalization)               \
  X(reshape)                           \
  X(merge_time)                        \
  X(split_time)                        \
  X(expand_dims)                       \
  X(squeeze)                           \
  X(transpose)                         \
  X(slice)                             \
  X(pad)                               \
  X(repeat)                            \
  X(concatenate)                       \
  X(matmul)                            \
  X(cast)                              \
  X(ones_like)

namespace unrolled::records {

#define UNROLLED_DECLARE(name) OpRecord name();
UNROLLED_FOR_EACH_OPERATION(UNROLLED_DECLARE)
#undef UNROLLED_DECLARE

}  // namespace unrolled::records

namespace unrolled {

// Of one item of the argument `directions` of recurrent.
const Schema& direction_schema();

}  // namespace unrolled
