// SPDX-License-Identifier: MIT
// NumPy arrays as the inputs and outputs of a call. For cpp/bindings only.
#pragma once

#include <string>

#include "base/small_vector.h"
#include "bindings/bindings.h"

namespace unrolled::bindings {

// Dtype and shape, for error messages.
std::string describe(const py::array& array);

bool has_dtype(const py::array& array, DType dtype);

// Whether the array's memory can be read as it is: C order, aligned, in this machine's byte order.
bool is_ready(const py::array& array);

// Fills `type`; returns an array in C order that holds the values: the given one where it is so already.
py::array check_input(const Plan& plan, std::size_t index, py::handle given, TensorType& type);

py::array new_array(const TensorType& type);

}  // namespace unrolled::bindings
