// SPDX-License-Identifier: MIT
#include "ops/op.h"

namespace unrolled {

void check_dtype(const char* op, const TensorType& type, DType expected) {
  if (type.dtype != expected) fail({op, ": expected ", to_string(expected), ", got ", to_string(type)});
}

void check_rank_at_least(const char* op, const TensorType& type, int rank) {
  if (type.shape.rank < rank) {
    fail({op, ": expected at least ", std::to_string(rank), " axes, got ", to_string(type)});
  }
}

}  // namespace unrolled
