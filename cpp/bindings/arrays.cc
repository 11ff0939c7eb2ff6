// SPDX-License-Identifier: MIT
#include "bindings/arrays.h"

namespace unrolled::bindings {
namespace {

using NumpyApi = py::detail::npy_api;

constexpr int kReady = NumpyApi::NPY_ARRAY_C_CONTIGUOUS_ | NumpyApi::NPY_ARRAY_ALIGNED_;

int numpy_type(DType dtype) {
  switch (dtype) {
    case DType::kFloat32:
      return NumpyApi::NPY_FLOAT_;
    case DType::kInt32:
      return NumpyApi::NPY_INT_;
    case DType::kBool:
      return NumpyApi::NPY_BOOL_;
  }
  return NumpyApi::NPY_FLOAT_;
}

}  // namespace

std::string describe(const py::array& array) {
  std::string text = py::str(array.dtype()).cast<std::string>() + " (";
  for (py::ssize_t i = 0; i < array.ndim(); ++i) {
    if (i > 0) text += ", ";
    text += std::to_string(array.shape(i));
  }
  return text + ")";
}

bool has_dtype(const py::array& array, DType dtype) {
  const py::dtype own = array.dtype();
  const char kind = dtype == DType::kFloat32 ? 'f' : dtype == DType::kInt32 ? 'i' : 'b';
  return own.kind() == kind && own.itemsize() == size_of(dtype) && own.byteorder() != '>';
}

bool is_ready(const py::array& array) { return (array.flags() & kReady) == kReady; }

py::array check_input(const Plan& plan, std::size_t index, py::handle given, TensorType& type) {
  const TensorType& expected = plan.input_type(index);
  if (!py::isinstance<py::array>(given)) {
    fail({"input ", std::to_string(index), ": expected a NumPy array, got ",
          py::str(py::type::handle_of(given)).cast<std::string>()});
  }
  auto array = py::reinterpret_borrow<py::array>(given);
  if (!has_dtype(array, expected.dtype) || array.ndim() != expected.shape.rank) {
    fail({"input ", std::to_string(index), ": expected ", to_string(expected.dtype), " of rank ",
          std::to_string(expected.shape.rank), ", got ", describe(array)});
  }
  type.dtype = expected.dtype;
  type.shape.rank = expected.shape.rank;
  for (int i = 0; i < type.shape.rank; ++i) type.shape.dims[i] = array.shape(i);
  if (!is_ready(array)) array = py::array::ensure(array, kReady);
  if (!array) throw py::error_already_set();
  return array;
}

py::array new_array(const TensorType& type) {
  const auto& api = NumpyApi::get();
  py::ssize_t dims[kMaxRank];
  for (int i = 0; i < type.shape.rank; ++i) dims[i] = type.shape.dims[i];
  auto array = py::reinterpret_steal<py::array>(
      api.PyArray_NewFromDescr_(api.PyArray_Type_, api.PyArray_DescrFromType_(numpy_type(type.dtype)),
                                type.shape.rank, dims, nullptr, nullptr, 0, nullptr));
  if (!array) throw py::error_already_set();
  return array;
}

}  // namespace unrolled::bindings
