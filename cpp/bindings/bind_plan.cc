// SPDX-License-Identifier: MIT
// Plan: NumPy arrays in, fresh NumPy arrays out, the GIL released while it computes.
#include <string>

#include "bindings/arguments.h"
#include "bindings/arrays.h"
#include "bindings/bindings.h"
#include "bindings/python_calls.h"

namespace unrolled::bindings {
namespace {

py::list run(const Plan& plan, const py::sequence& inputs, Index max_rows, int threads) {
  const std::size_t count = inputs.size();
  if (count != plan.input_count()) {
    fail({"expected ", std::to_string(plan.input_count()), " inputs, got ", std::to_string(count)});
  }
  if (max_rows < 0 || threads < 0) fail({"expected max_rows and threads of at least 0"});
  SmallVector<py::object> arrays(count);
  SmallVector<TensorType> types(count);
  SmallVector<const void*> from(count);
  for (std::size_t i = 0; i < count; ++i) {
    const py::object item = inputs[i];
    py::array array = check_input(plan, i, item, types[i]);
    from[i] = array.data();
    arrays[i] = std::move(array);
  }
  Plan::Run call(plan, types.get());
  const std::span<const TensorType> outputs = call.outputs();
  py::list results(outputs.size());
  SmallVector<void*> to(outputs.size());
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    py::array array = new_array(outputs[i]);
    to[i] = array.mutable_data();
    PyList_SET_ITEM(results.ptr(), static_cast<py::ssize_t>(i), array.release().ptr());
  }
  without_gil([&](Stop& stop) { call.execute(from.get(), to.get(), max_rows, threads, stop); });
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

py::list describe_nodes(const Plan& plan) {
  py::list nodes;
  for (const Node& node : plan.graph().nodes) {
    py::dict described;
    described["name"] = node.record->schema.name;
    described["arguments"] = to_python(node.arguments);
    described["results"] = node.outputs;
    nodes.append(described);
  }
  return nodes;
}

}  // namespace

void bind_plan(py::module_& module) {
  py::class_<Plan, std::shared_ptr<Plan>>(module, "Plan",
                                          "Immutable; any number of threads may run it at once.")
      .def("run", &run, py::arg("inputs"), py::arg("max_rows") = 0, py::arg("threads") = 0)
      .def("output_shapes", &output_shapes, py::arg("input_shapes"))
      .def("operations", &describe_nodes);
}

}  // namespace unrolled::bindings
