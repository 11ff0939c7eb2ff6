// SPDX-License-Identifier: MIT
#include "base/shape.h"

#include <stdexcept>

namespace unrolled {

void fail(std::initializer_list<std::string> parts) {
  std::string message;
  for (const std::string& part : parts) message += part;
  throw std::invalid_argument(message);
}

Index multiply(Index a, Index b) {
  if (a != 0 && b > kMaxElements / a) fail({"a tensor of this size cannot be addressed"});
  return a * b;
}

Index add(Index a, Index b) {
  if (b > kMaxElements - a) fail({"a tensor of this size cannot be addressed"});
  return a + b;
}

Index product(const Shape& shape, int begin, int end) {
  Index count = 1;
  for (int i = begin; i < end; ++i) count = multiply(count, shape.dims[i]);
  return count;
}

Index element_count(const Shape& shape) { return product(shape, 0, shape.rank); }

Shape make_shape(std::span<const Index> dims) {
  if (dims.size() > static_cast<std::size_t>(kMaxRank)) {
    fail({"expected at most ", std::to_string(kMaxRank), " axes, got ", std::to_string(dims.size())});
  }
  Shape shape;
  for (const Index dim : dims) shape.dims[shape.rank++] = dim;
  return shape;
}

bool operator==(const Shape& a, const Shape& b) {
  if (a.rank != b.rank) return false;
  for (int i = 0; i < a.rank; ++i) {
    if (a.dims[i] != b.dims[i]) return false;
  }
  return true;
}

int normalize_axis(Index axis, int rank, const char* what) {
  if (axis < -rank || axis >= rank) {
    fail({what, ": axis ", std::to_string(axis), " of a tensor of rank ", std::to_string(rank)});
  }
  return static_cast<int>(axis < 0 ? axis + rank : axis);
}

const char* to_string(DType dtype) {
  switch (dtype) {
    case DType::kFloat32:
      return "float32";
    case DType::kInt32:
      return "int32";
    case DType::kBool:
      return "bool";
  }
  return "?";
}

std::string to_string(const Shape& shape) {
  std::string text = "(";
  for (int i = 0; i < shape.rank; ++i) {
    if (i > 0) text += ", ";
    text += std::to_string(shape.dims[i]);
  }
  return text + (shape.rank == 1 ? ",)" : ")");
}

std::string to_string(const TensorType& type) {
  return std::string(to_string(type.dtype)) + " " + to_string(type.shape);
}

DType dtype_from_string(const std::string& name) {
  for (const DType dtype : {DType::kFloat32, DType::kInt32, DType::kBool}) {
    if (name == to_string(dtype)) return dtype;
  }
  fail({"expected dtype float32, int32 or bool, got ", name});
}

}  // namespace unrolled
