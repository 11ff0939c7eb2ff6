// SPDX-License-Identifier: MIT
// Plan: NumPy arrays in, fresh NumPy arrays out, the GIL released while it computes.
#include <string>

#include "bindings/bindings.h"

namespace unrolled::bindings {
namespace {

using NumpyApi = py::detail::npy_api;

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

std::string describe(const py::array& array) {
  std::string text = py::str(array.dtype()).cast<std::string>() + " (";
  for (py::ssize_t i = 0; i < array.ndim(); ++i) {
    if (i > 0) text += ", ";
    text += std::to_string(array.shape(i));
  }
  return text + ")";
}

// Fills `type`; returns an array in C order that holds the values: the given one where it is so already.
py::array check_input(const Plan& plan, std::size_t index, py::handle given, TensorType& type) {
  const TensorType& expected = plan.input_type(index);
  if (!py::isinstance<py::array>(given)) {
    fail({"input ", std::to_string(index), ": expected a NumPy array, got ",
          py::str(py::type::handle_of(given)).cast<std::string>()});
  }
  auto array = py::reinterpret_borrow<py::array>(given);
  const py::dtype dtype = array.dtype();
  const bool is_right_dtype = dtype.kind() == (expected.dtype == DType::kFloat32 ? 'f'
                                               : expected.dtype == DType::kInt32 ? 'i'
                                                                                 : 'b') &&
                              dtype.itemsize() == size_of(expected.dtype) && dtype.byteorder() != '>';
  if (!is_right_dtype || array.ndim() != expected.shape.rank) {
    fail({"input ", std::to_string(index), ": expected ", to_string(expected.dtype), " of rank ",
          std::to_string(expected.shape.rank), ", got ", describe(array)});
  }
  type.dtype = expected.dtype;
  type.shape.rank = expected.shape.rank;
  for (int i = 0; i < type.shape.rank; ++i) type.shape.dims[i] = array.shape(i);
  constexpr int kReady = NumpyApi::NPY_ARRAY_C_CONTIGUOUS_ | NumpyApi::NPY_ARRAY_ALIGNED_;
  if ((array.flags() & kReady) != kReady) array = py::array::ensure(array, kReady);
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

py::list run(const Plan& plan, const py::sequence& inputs, Index max_rows, int threads) {
  const std::size_t count = inputs.size();
  if (count != plan.input_count()) {
    fail({"expected ", std::to_string(plan.input_count()), " inputs, got ", std::to_string(count)});
  }
  if (max_rows < 0 || threads < 0) fail({"expected max_rows and threads of at least 0"});
  Few<py::object> arrays(count);
  Few<TensorType> types(count);
  Few<const void*> from(count);
  for (std::size_t i = 0; i < count; ++i) {
    const py::object item = inputs[i];
    py::array array = check_input(plan, i, item, types[i]);
    from[i] = array.data();
    arrays[i] = std::move(array);
  }
  Plan::Run call(plan, types.get());
  const std::span<const TensorType> outputs = call.outputs();
  py::list results(outputs.size());
  Few<void*> to(outputs.size());
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    py::array array = new_array(outputs[i]);
    to[i] = array.mutable_data();
    PyList_SET_ITEM(results.ptr(), static_cast<py::ssize_t>(i), array.release().ptr());
  }
  {
    py::gil_scoped_release release;
    call.execute(from.get(), to.get(), max_rows, threads);
  }
  return results;
}

std::vector<py::tuple> output_shapes(const Plan& plan, const std::vector<std::vector<Index>>& shapes) {
  std::vector<TensorType> types;
  for (std::size_t i = 0; i < shapes.size(); ++i) {
    for (const Index dim : shapes[i]) {
      if (dim < 0)
        fail({"input ", std::to_string(i), ": expected sizes of at least 0, got ", std::to_string(dim)});
    }
    const DType dtype = i < plan.input_count() ? plan.input_type(i).dtype : DType::kFloat32;
    types.push_back({dtype, make_shape(shapes[i])});
  }
  std::vector<py::tuple> results;
  for (const TensorType& type : plan.infer(types)) {
    py::tuple shape(static_cast<std::size_t>(type.shape.rank));
    for (int i = 0; i < type.shape.rank; ++i) shape[static_cast<std::size_t>(i)] = type.shape.dims[i];
    results.push_back(shape);
  }
  return results;
}

}  // namespace

void bind_plan(py::module_& module) {
  py::class_<Plan, std::shared_ptr<Plan>>(module, "Plan", "Immutable; any number of threads may run it at once.")
      .def("run", &run, py::arg("inputs"), py::arg("max_rows") = 0, py::arg("threads") = 0)
      .def("output_shapes", &output_shapes, py::arg("input_shapes"));
}

}  // namespace unrolled::bindings
