// SPDX-License-Identifier: MIT
// NumPy arrays as the inputs and outputs of a call. For cpp/bindings only.
#pragma once

#include <string>

#include "bindings/bindings.h"

namespace unrolled::bindings {

// Vectors of a call, on the stack for the usual few inputs and outputs.
template <typename T>
class Few {
 public:
  explicit Few(std::size_t count) : count_(count) {
    if (count > kMost) many_.resize(count);
  }
  T& operator[](std::size_t i) { return count_ > kMost ? many_[i] : few_[i]; }
  std::span<T> get() { return {count_ > kMost ? many_.data() : few_, count_}; }

 private:
  static constexpr std::size_t kMost = 4;
  std::size_t count_;
  T few_[kMost] = {};
  std::vector<T> many_;
};

// Dtype and shape, for error messages.
std::string describe(const py::array& array);

bool has_dtype(const py::array& array, DType dtype);

// Whether the array's memory can be read as it is: C order, aligned, in this machine's byte order.
bool is_ready(const py::array& array);

// Fills `type`; returns an array in C order that holds the values: the given one where it is so already.
py::array check_input(const Plan& plan, std::size_t index, py::handle given, TensorType& type);

py::array new_array(const TensorType& type);

}  // namespace unrolled::bindings
