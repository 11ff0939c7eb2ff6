// SPDX-License-Identifier: MIT
// The Python classes that describe parts of operations: Activation and Direction.
#include <array>
#include <string>

#include "bindings/bindings.h"

namespace unrolled::bindings {
namespace {

// In the order of kernels::ActivationKind.
constexpr const char* kActivationNames[] = {
    "linear",         "relu",
    "sigmoid",        "hard_sigmoid",
    "tanh",           "softplus",
    "softsign",       "elu",
    "selu",           "gelu",
    "gelu_tanh",      "silu",
    "exponential",    "mish",
    "hard_silu",      "celu",
    "squareplus",     "hard_tanh",
    "tanh_shrink",    "soft_shrink",
    "hard_shrink",    "sparse_plus",
    "sparse_sigmoid", "log_sigmoid",
    "threshold",      "thresholded_relu",
};
static_assert(std::size(kActivationNames) ==
              static_cast<std::size_t>(kernels::ActivationKind::kThresholdedRelu) + 1);

kernels::ActivationKind activation_kind(const std::string& name) {
  for (std::size_t i = 0; i < std::size(kActivationNames); ++i) {
    if (name == kActivationNames[i]) return static_cast<kernels::ActivationKind>(i);
  }
  fail({"activation: no kind '", name, "'; see activation_kinds()"});
}

kernels::CellKind cell_kind(const std::string& name) {
  if (name == "simple_rnn") return kernels::CellKind::kSimpleRnn;
  if (name == "lstm") return kernels::CellKind::kLstm;
  if (name == "gru_reset_after") return kernels::CellKind::kGruResetAfter;
  if (name == "gru_reset_before") return kernels::CellKind::kGruResetBefore;
  fail({"direction: expected cell simple_rnn, lstm, gru_reset_after or gru_reset_before, got ", name});
}

Direction make_direction(const std::string& cell, WeightArray kernel, WeightArray recurrent_kernel,
                         std::optional<WeightArray> bias, const kernels::Activation& activation,
                         const kernels::Activation& recurrent_activation, bool read_reversed,
                         bool write_reversed, bool zero_output_for_mask, bool masked_output_is_state) {
  Direction direction{{}, std::move(kernel), std::move(recurrent_kernel), std::move(bias)};
  DirectionConfig& config = direction.config;
  config.shape.kind = cell_kind(cell);
  const Index gates = gate_count(config.shape.kind);
  const auto check = [](const char* what, const WeightView& got, const Shape& expected) {
    if (!(got.shape == expected)) {
      fail({"direction: expected ", what, " of shape ", to_string(expected), ", got ", to_string(got.shape)});
    }
  };
  const WeightView kernel_view = view_of(direction.kernel);
  const WeightView recurrent_view = view_of(direction.recurrent_kernel);
  if (recurrent_view.shape.rank != 2 || recurrent_view.shape.dims[0] < 1) {
    fail({"direction: expected a recurrent_kernel of shape (units, gates * units), got ",
          to_string(recurrent_view.shape)});
  }
  const Index units = recurrent_view.shape.dims[0];
  const Index columns = multiply(gates, units);
  check("a recurrent_kernel", recurrent_view, make_shape(std::array{units, columns}));
  const Index features = kernel_view.shape.rank == 2 ? kernel_view.shape.dims[0] : 0;
  if (features < 1) {
    fail({"direction: expected a kernel of shape (features, ", std::to_string(columns), "), got ",
          to_string(kernel_view.shape)});
  }
  check("a kernel", kernel_view, make_shape(std::array{features, columns}));
  if (direction.bias) {
    const bool has_two = config.shape.kind == kernels::CellKind::kGruResetAfter;
    const WeightView view = *view_of(direction.bias);
    check("a bias", view,
          has_two ? make_shape(std::array{Index{2}, columns}) : make_shape(std::array{columns}));
    config.weights.bias = view.data;
  }
  config.weights.kernel = kernel_view.data;
  config.weights.recurrent_kernel = recurrent_view.data;
  config.shape.features = features;
  config.shape.units = units;
  config.shape.activation = activation;
  config.shape.recurrent_activation = recurrent_activation;
  config.read_reversed = read_reversed;
  config.write_reversed = write_reversed;
  config.zero_output_for_mask = zero_output_for_mask;
  config.masked_output_is_state = masked_output_is_state;
  return direction;
}

py::tuple describe_activation(const kernels::Activation& activation) {
  return py::make_tuple(kActivationNames[static_cast<std::size_t>(activation.kind)], activation.alpha,
                        activation.beta, activation.gamma);
}

py::dict describe_direction(const Direction& direction) {
  const DirectionConfig& config = direction.config;
  py::dict described;
  described["cell"] = static_cast<int>(config.shape.kind);
  described["kernel"] = direction.kernel;
  described["recurrent_kernel"] = direction.recurrent_kernel;
  described["bias"] = direction.bias;
  described["activation"] = describe_activation(config.shape.activation);
  described["recurrent_activation"] = describe_activation(config.shape.recurrent_activation);
  described["read_reversed"] = config.read_reversed;
  described["write_reversed"] = config.write_reversed;
  described["zero_output_for_mask"] = config.zero_output_for_mask;
  described["masked_output_is_state"] = config.masked_output_is_state;
  return described;
}

}  // namespace

WeightView view_of(const WeightArray& array) {
  if (array.ndim() > kMaxRank) {
    fail({"expected weights of at most ", std::to_string(kMaxRank), " axes, got ",
          std::to_string(array.ndim())});
  }
  return {array.data(), make_shape({array.shape(), static_cast<std::size_t>(array.ndim())})};
}

std::optional<WeightView> view_of(const std::optional<WeightArray>& array) {
  return array ? std::optional(view_of(*array)) : std::nullopt;
}

void bind_activation(py::module_& module) {
  py::class_<kernels::Activation>(
      module, "Activation", "An elementwise activation: a kind (see activation_kinds) and its parameters.")
      .def(py::init([](const std::string& kind, double alpha, double beta, double gamma) {
             return kernels::Activation{activation_kind(kind), static_cast<float>(alpha),
                                        static_cast<float>(beta), static_cast<float>(gamma)};
           }),
           py::arg("kind"), py::arg("alpha") = 0.0, py::arg("beta") = 0.0, py::arg("gamma") = 0.0)
      .def("described", &describe_activation);
  module.def("activation_kinds", [] {
    return std::vector<std::string>(std::begin(kActivationNames), std::end(kActivationNames));
  });
}

void bind_direction(py::module_& module) {
  py::class_<Direction>(module, "Direction",
                        "One recurrent sweep: the cell, its weights, and the order of its timesteps.")
      .def(py::init(&make_direction), py::kw_only(), py::arg("cell"), py::arg("kernel"),
           py::arg("recurrent_kernel"), py::arg("bias").none(true), py::arg("activation"),
           py::arg("recurrent_activation"), py::arg("read_reversed") = false,
           py::arg("write_reversed") = false, py::arg("zero_output_for_mask") = false,
           py::arg("masked_output_is_state") = false)
      .def("described", &describe_direction);
}

}  // namespace unrolled::bindings
