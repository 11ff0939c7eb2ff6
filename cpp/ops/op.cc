// SPDX-License-Identifier: MIT
#include "ops/op.h"

namespace unrolled {

kernels::TimeLoop time_loop(const Arguments& given) {
  return {given.get<bool>("read_reversed"), given.get<bool>("write_reversed"),
          given.get<bool>("zero_output_for_mask"), given.get<bool>("masked_output_is_state")};
}

void check_dtype(const char* op, const TensorType& type, DType expected) {
  if (type.dtype != expected) fail({op, ": expected ", to_string(expected), ", got ", to_string(type)});
}

void check_rank_at_least(const char* op, const TensorType& type, int rank) {
  if (type.shape.rank < rank) {
    fail({op, ": expected at least ", std::to_string(rank), " axes, got ", to_string(type)});
  }
}

void check_type(const char* op, const char* what, const TensorType& type, const TensorType& expected) {
  if (!(type == expected)) {
    fail({op, ": expected ", what, " ", to_string(expected), ", got ", to_string(type)});
  }
}

}  // namespace unrolled
