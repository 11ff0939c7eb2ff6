// SPDX-License-Identifier: MIT
#include "ops/arguments.h"

#include <stdexcept>
#include <string_view>

namespace unrolled {
namespace {

// In the order of kernels::ActivationKind.
constexpr const char* kNames[] = {
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
static_assert(std::size(kNames) == static_cast<std::size_t>(kernels::ActivationKind::kThresholdedRelu) + 1);

}  // namespace

const std::span<const char* const> kActivationNames = kNames;

const char* to_string(kernels::ActivationKind kind) { return kNames[static_cast<std::size_t>(kind)]; }

kernels::ActivationKind activation_kind(const std::string& name) {
  for (std::size_t i = 0; i < std::size(kNames); ++i) {
    if (name == kNames[i]) return static_cast<kernels::ActivationKind>(i);
  }
  fail({"activation: no kind '", name, "'; see activation_kinds()"});
}

const Argument& Arguments::at(const char* name) const {
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (schema->parameters[i].name == std::string_view(name)) return values[i];
  }
  throw std::logic_error(std::string(schema->name) + " has no parameter " + name);
}

std::vector<Index> Arguments::operands() const {
  std::vector<Index> ids;
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (!schema->parameters[i].is_operand()) continue;
    if (const auto* id = std::get_if<Index>(&values[i])) ids.push_back(*id);
    if (const auto* several = std::get_if<std::vector<Index>>(&values[i])) {
      ids.insert(ids.end(), several->begin(), several->end());
    }
  }
  return ids;
}

Schema::Schema(const char* its_name, std::initializer_list<Parameter> its_parameters,
               void (*its_check)(const Arguments&))
    : name(its_name), check(its_check) {
  bool is_by_name = false;
  for (const Parameter& parameter : its_parameters) {
    if (parameter.name == std::string_view("*")) {
      is_by_name = true;
      continue;
    }
    parameters.push_back(parameter);
    if (!is_by_name) ++positional;
  }
}

}  // namespace unrolled
