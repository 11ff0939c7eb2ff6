// SPDX-License-Identifier: MIT
// PlanBuilder: a method for every operation of the registry; Activation and Direction, which they take.
#include <string>

#include "bindings/arguments.h"
#include "ops/registry.h"

namespace unrolled::bindings {
namespace {

int add_constant(Builder& builder, const py::object& given) {
  const py::array value = py::array::ensure(given);  // NumPy scalars too
  if (!value) throw py::error_already_set();
  const py::dtype dtype = value.dtype();
  TensorType type;
  py::array array;
  if (dtype.kind() == 'b') {
    type.dtype = DType::kBool;
    array = py::array_t<bool, py::array::c_style>::ensure(value);
  } else if (dtype.kind() == 'i' || dtype.kind() == 'u') {
    type.dtype = DType::kInt32;
    array = py::array_t<std::int32_t, py::array::c_style | py::array::forcecast>::ensure(value);
  } else if (dtype.kind() == 'f') {
    type.dtype = DType::kFloat32;
    array = WeightArray::ensure(value);
  } else {
    fail({"constant: expected float, integer or bool, got ", py::str(dtype).cast<std::string>()});
  }
  if (!array) throw py::error_already_set();
  if (array.ndim() > kMaxRank) fail({"constant: too many axes: ", std::to_string(array.ndim())});
  type.shape = make_shape({array.shape(), static_cast<std::size_t>(array.ndim())});
  return builder.constant(type, array.data());
}

py::tuple describe_activation(const kernels::Activation& activation) {
  return py::make_tuple(unrolled::to_string(activation.kind), activation.alpha, activation.beta,
                        activation.gamma);
}

py::list describe_parameters(const Schema& schema) {
  py::list parameters;
  for (std::size_t i = 0; i < schema.parameters.size(); ++i) {
    const Parameter& parameter = schema.parameters[i];
    py::dict described;
    described["name"] = parameter.name;
    described["kind"] = to_string(parameter.kind);
    described["by_name"] = i >= schema.positional;
    described["allows_none"] = parameter.allows_none;
    if (parameter.default_value) described["default"] = to_python(*parameter.default_value);
    if (parameter.parts) described["parts"] = describe_parameters(*parameter.parts);
    parameters.append(described);
  }
  return parameters;
}

py::list describe_operations() {
  py::list all;
  for (const OpRecord& record : operations()) {
    py::dict described;
    described["name"] = record.schema.name;
    described["doc"] = record.doc;
    described["parameters"] = describe_parameters(record.schema);
    described["gives_list"] = record.gives_list;
    all.append(described);
  }
  return all;
}

}  // namespace

void bind_builder(py::module_& module) {
  py::class_<kernels::Activation>(
      module, "Activation", "An elementwise activation: a kind (see activation_kinds) and its parameters.")
      .def(py::init([](const std::string& kind, double alpha, double beta, double gamma) {
             return kernels::Activation{activation_kind(kind), static_cast<float>(alpha),
                                        static_cast<float>(beta), static_cast<float>(gamma)};
           }),
           py::arg("kind"), py::arg("alpha") = 0.0, py::arg("beta") = 0.0, py::arg("gamma") = 0.0)
      .def("described", &describe_activation);
  module.def("activation_kinds",
             [] { return std::vector<std::string>(kActivationNames.begin(), kActivationNames.end()); });
  module.def("operations", &describe_operations);

  py::class_<Direction>(module, "Direction",
                        "One recurrent sweep: the cell, its weights, and the order of its timesteps.")
      .def(py::init([](const py::args& args, const py::kwargs& kwargs) {
        return Direction{bind_arguments(direction_schema(), args, kwargs)};
      }))
      .def("described", [](const Direction& self) { return to_python(self.arguments); });

  py::class_<Builder> builder(
      module, "PlanBuilder",
      "Operations over values; every method returns the id(s) of its output value(s).");
  builder.def(py::init())
      .def(
          "input",
          [](Builder& self, const std::string& dtype, int rank) {
            return self.input(dtype_from_string(dtype), rank);
          },
          py::arg("dtype"), py::arg("rank"))
      .def("constant", &add_constant, py::arg("value"))
      .def("finish", &Builder::finish, py::arg("outputs"));
  for (const OpRecord& record : operations()) {
    builder.def(
        record.schema.name,
        [&record](Builder& self, const py::args& args, const py::kwargs& kwargs) -> py::object {
          const std::vector<int> ids = self.add(record, bind_arguments(record.schema, args, kwargs));
          return record.gives_list ? py::object(py::cast(ids)) : py::int_(ids[0]);
        },
        record.doc);
  }
}

}  // namespace unrolled::bindings
