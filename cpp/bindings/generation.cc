// SPDX-License-Identifier: MIT
#include "bindings/generation.h"

#include <cstring>

#include "bindings/arrays.h"
#include "bindings/python_calls.h"

namespace unrolled::bindings {

Generation make_generation(const std::string& feed, Index steps, Index width, double temperature, Index top_k,
                           bool from_logits, std::uint64_t seed) {
  if (feed != "values" && feed != "ids" && feed != "one_hot") fail({"generate: no feed ", feed});
  const Feed kind = feed == "values" ? Feed::kValues : feed == "ids" ? Feed::kIds : Feed::kOneHot;
  return {kind, steps, width, temperature, top_k, from_logits, seed};
}

py::array new_results(const Generation& generation, Index rows) {
  if (generation.steps < 0) fail({"generate: expected steps of at least 0"});
  TensorType type{DType::kInt32, make_shape(std::vector<Index>{rows, generation.steps})};
  if (generation.feed == Feed::kValues) {
    type = {DType::kFloat32, make_shape(std::vector<Index>{rows, generation.steps, generation.width})};
  }
  return new_array(type);
}

namespace {

py::array generate_from_window(const Plan& plan, const py::array& window, const std::string& feed,
                               Index steps, Index width, double temperature, Index top_k, bool from_logits,
                               std::uint64_t seed) {
  const Generation generation = make_generation(feed, steps, width, temperature, top_k, from_logits, seed);
  if (plan.input_count() != 1 || plan.output_count() != 1) fail({"generate: expected one input and output"});
  TensorType type;
  const py::array checked = check_input(plan, 0, window, type);
  const Index token = generation.feed == Feed::kIds ? 1 : width;
  const int rank = generation.feed == Feed::kIds ? 2 : 3;
  if (type.shape.rank != rank || type.shape.dims[0] < 1 || type.shape.dims[1] < 1 ||
      (rank == 3 && type.shape.dims[2] != token)) {
    fail({"generate: a window ", to_string(type), " does not fit outputs of ", std::to_string(width)});
  }
  const TensorType output = plan.infer({&type, 1})[0];
  const Shape& shape = output.shape;
  if (output.dtype != DType::kFloat32 || shape.rank < 2 || shape.rank > 3 ||
      shape.dims[0] != type.shape.dims[0] || shape.dims[shape.rank - 1] != width ||
      (shape.rank == 3 && shape.dims[1] < 1)) {
    fail({"generate: expected outputs of ", std::to_string(width), ", got ", to_string(output)});
  }
  py::array results = new_results(generation, type.shape.dims[0]);
  AlignedBuffer copy(byte_count(type));
  std::memcpy(copy.data(), checked.data(), static_cast<std::size_t>(byte_count(type)));
  void* to = results.mutable_data();
  without_gil([&](Stop& stop) { generate(plan, type, generation, copy.data(), to, stop); });
  return results;
}

}  // namespace

void bind_generation(py::module_& module) {
  module.def("generate_from_window", &generate_from_window, py::arg("plan"), py::arg("window"), py::kw_only(),
             py::arg("feed"), py::arg("steps"), py::arg("width"), py::arg("temperature"), py::arg("top_k"),
             py::arg("from_logits"), py::arg("seed"));
}

}  // namespace unrolled::bindings
