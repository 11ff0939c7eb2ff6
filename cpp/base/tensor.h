// SPDX-License-Identifier: MIT
// Types, shapes and non-owning views of dense row-major arrays. Plain data: any file may include it,
// the kernels compiled once per ISA too (nothing here is a function with external linkage).
#pragma once

#include <cstddef>
#include <cstdint>

namespace unrolled {

using Index = std::ptrdiff_t;

enum class DType : std::uint8_t { kFloat32, kInt32, kBool };

// Rank 0 to kMaxRank; axis 0 is the batch wherever a tensor has one.
inline constexpr int kMaxRank = 8;

struct Shape {
  int rank = 0;
  Index dims[kMaxRank] = {};
};

struct TensorType {
  DType dtype = DType::kFloat32;
  Shape shape;
};

// Row-major, contiguous, not owned.
struct TensorView {
  void* data = nullptr;
  TensorType type;
};

}  // namespace unrolled
