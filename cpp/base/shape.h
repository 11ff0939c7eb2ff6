// SPDX-License-Identifier: MIT
// Arithmetic on shapes, checked against overflow, and the words for them in error messages.
// For core only: the kernels compiled per ISA do not include it.
#pragma once

#include <initializer_list>
#include <span>
#include <string>

#include "base/tensor.h"

namespace unrolled {

// Throws std::invalid_argument with the parts joined.
[[noreturn]] void fail(std::initializer_list<std::string> parts);

// Both throw std::invalid_argument when the result exceeds kMaxElements.
inline constexpr Index kMaxElements = Index{1} << 56;
Index multiply(Index a, Index b);
Index add(Index a, Index b);

Index element_count(const Shape& shape);
// Product of the dimensions in [begin, end).
Index product(const Shape& shape, int begin, int end);

constexpr Index size_of(DType dtype) { return dtype == DType::kBool ? 1 : 4; }
inline Index byte_count(const TensorType& type) {
  return multiply(element_count(type.shape), size_of(type.dtype));
}

Shape make_shape(std::span<const Index> dims);
bool operator==(const Shape& a, const Shape& b);
inline bool operator==(const TensorType& a, const TensorType& b) {
  return a.dtype == b.dtype && a.shape == b.shape;
}

// [0, rank) from Python's [-rank, rank); throws std::invalid_argument naming `what`.
int normalize_axis(Index axis, int rank, const char* what);

const char* to_string(DType dtype);
std::string to_string(const Shape& shape);
std::string to_string(const TensorType& type);
DType dtype_from_string(const std::string& name);

}  // namespace unrolled
