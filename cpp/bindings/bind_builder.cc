// SPDX-License-Identifier: MIT
// PlanBuilder: one method per operation.
#include <string>

#include "bindings/bindings.h"
#include "kernels/dispatch.h"
#include "plan/scan.h"

namespace unrolled::bindings {
namespace {

class PlanBuilder {
 public:
  Graph& graph() {
    if (is_finished_) fail({"this PlanBuilder is finished"});
    return graph_;
  }

  int add(OpPointer op, std::vector<int> operands) {
    return graph().add(std::move(op), std::move(operands))[0];
  }

  Operand operand(int value) { return {graph().value(value).has_batch}; }

  std::shared_ptr<Plan> finish(std::vector<int> outputs) {
    graph().finish(std::move(outputs));
    is_finished_ = true;
    return std::make_shared<Plan>(std::move(graph_));
  }

 private:
  Graph graph_;
  bool is_finished_ = false;
};

int add_constant(PlanBuilder& builder, const py::object& given) {
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
  return builder.graph().add_constant(type, array.data());
}

std::vector<int> add_recurrent(PlanBuilder& builder, int x, const std::vector<const Direction*>& directions,
                               std::optional<int> mask, const std::vector<int>& initial_states,
                               bool return_sequences, bool return_state, bool concatenate) {
  std::vector<DirectionConfig> configs;
  std::size_t states = 0;
  for (const Direction* direction : directions) {
    configs.push_back(direction->config);
    states += static_cast<std::size_t>(state_count(direction->config.shape.kind));
  }
  if (!initial_states.empty() && initial_states.size() != states) {
    fail({"recurrent: expected ", std::to_string(states), " initial states or none, got ",
          std::to_string(initial_states.size())});
  }
  std::vector<int> operands{x};
  if (mask) operands.push_back(*mask);
  operands.insert(operands.end(), initial_states.begin(), initial_states.end());
  const RecurrentConfig config{mask.has_value(), !initial_states.empty(), return_sequences, return_state,
                               concatenate};
  return builder.graph().add(make_recurrent(kernels::active_table(), configs, config), std::move(operands));
}

std::vector<int> add_scan(PlanBuilder& builder, int x, std::shared_ptr<Plan> step,
                          std::vector<std::vector<Index>> state_shapes, std::optional<int> mask,
                          const std::vector<int>& initial_states, bool return_sequences, bool return_state,
                          bool read_reversed, bool write_reversed, bool zero_output_for_mask,
                          bool masked_output_is_state) {
  if (!initial_states.empty() && initial_states.size() != state_shapes.size()) {
    fail({"scan: expected ", std::to_string(state_shapes.size()), " initial states or none, got ",
          std::to_string(initial_states.size())});
  }
  std::vector<int> operands{x};
  if (mask) operands.push_back(*mask);
  operands.insert(operands.end(), initial_states.begin(), initial_states.end());
  ScanConfig config{mask.has_value(),     !initial_states.empty(), return_sequences,
                    return_state,         read_reversed,           write_reversed,
                    zero_output_for_mask, masked_output_is_state,  std::move(state_shapes)};
  return builder.graph().add(make_scan(std::move(step), std::move(config)), std::move(operands));
}

}  // namespace

void bind_builder(py::module_& module) {
  using Builder = PlanBuilder;
  py::class_<Builder>(module, "PlanBuilder",
                      "Operations over values; every method returns the id(s) of its output value(s).")
      .def(py::init())
      .def(
          "input",
          [](Builder& self, const std::string& dtype, int rank) {
            return self.graph().add_input(dtype_from_string(dtype), rank);
          },
          py::arg("dtype"), py::arg("rank"))
      .def("constant", &add_constant, py::arg("value"))
      .def(
          "dense",
          [](Builder& self, int x, const WeightArray& kernel, const std::optional<WeightArray>& bias,
             const kernels::Activation& activation) {
            return self.add(make_dense(kernels::active_table(), view_of(kernel), view_of(bias), activation),
                            {x});
          },
          py::arg("x"), py::arg("kernel"), py::arg("bias").none(true), py::arg("activation"))
      .def("recurrent", &add_recurrent, py::arg("x"), py::arg("directions"), py::kw_only(),
           py::arg("mask") = py::none(), py::arg("initial_states") = py::tuple(),
           py::arg("return_sequences") = false, py::arg("return_state") = false,
           py::arg("concatenate") = false)
      .def("scan", &add_scan, py::arg("x"), py::arg("step"), py::kw_only(), py::arg("state_shapes"),
           py::arg("mask") = py::none(), py::arg("initial_states") = py::tuple(),
           py::arg("return_sequences") = false, py::arg("return_state") = false,
           py::arg("read_reversed") = false, py::arg("write_reversed") = false,
           py::arg("zero_output_for_mask") = false, py::arg("masked_output_is_state") = false)
      .def(
          "embedding",
          [](Builder& self, int ids, const WeightArray& table) {
            return self.add(make_embedding(view_of(table)), {ids});
          },
          py::arg("ids"), py::arg("table"))
      .def(
          "convolution",
          [](Builder& self, int x, const WeightArray& kernel, const std::optional<WeightArray>& bias,
             const std::vector<Index>& strides, const std::string& padding,
             const std::vector<Index>& dilation, Index groups, const kernels::Activation& activation) {
            const WindowConfig window{{}, strides, dilation, padding, groups};
            return self.add(
                make_convolution(kernels::active_table(), view_of(kernel), view_of(bias), window, activation),
                {x});
          },
          py::arg("x"), py::arg("kernel"), py::arg("bias").none(true), py::kw_only(), py::arg("strides"),
          py::arg("padding"), py::arg("dilation"), py::arg("groups"), py::arg("activation"))
      .def(
          "pool",
          [](Builder& self, int x, const std::string& kind, const std::vector<Index>& size,
             const std::vector<Index>& strides, const std::string& padding) {
            const WindowConfig window{size, strides, std::vector<Index>(size.size(), 1), padding, 1};
            return self.add(make_pool(kind, window), {x});
          },
          py::arg("x"), py::kw_only(), py::arg("kind"), py::arg("size"), py::arg("strides"),
          py::arg("padding"))
      .def(
          "reduce",
          [](Builder& self, int x, const std::string& kind, const std::vector<int>& axes, bool keepdims) {
            return self.add(make_reduce(kind, axes, keepdims), {x});
          },
          py::arg("x"), py::kw_only(), py::arg("kind"), py::arg("axes"), py::arg("keepdims") = false)
      .def(
          "masked_mean",
          [](Builder& self, int x, int mask, bool keepdims) {
            return self.add(make_masked_mean(keepdims), {x, mask});
          },
          py::arg("x"), py::arg("mask"), py::kw_only(), py::arg("keepdims") = false)
      .def(
          "running_mean",
          [](Builder& self, int x, int sums, int count, std::optional<int> mask, bool keepdims) {
            std::vector<int> operands{x, sums, count};
            if (mask) operands.push_back(*mask);
            return self.graph().add(make_running_mean(mask.has_value(), keepdims), std::move(operands));
          },
          py::arg("x"), py::arg("sums"), py::arg("count"), py::kw_only(), py::arg("mask") = py::none(),
          py::arg("keepdims") = false)
      .def(
          "activate",
          [](Builder& self, int x, const kernels::Activation& activation) {
            return self.add(make_activate(kernels::active_table(), activation), {x});
          },
          py::arg("x"), py::arg("activation"))
      .def(
          "softmax",
          [](Builder& self, int x, int axis, bool logarithm) {
            return self.add(make_softmax(kernels::active_table(), axis, logarithm), {x});
          },
          py::arg("x"), py::kw_only(), py::arg("axis"), py::arg("logarithm") = false)
      .def(
          "sparsemax", [](Builder& self, int x, int axis) { return self.add(make_sparsemax(axis), {x}); },
          py::arg("x"), py::kw_only(), py::arg("axis"))
      .def(
          "binary",
          [](Builder& self, const std::string& kind, int a, int b) {
            return self.add(make_binary(kind, self.operand(a), self.operand(b)), {a, b});
          },
          py::arg("kind"), py::arg("a"), py::arg("b"))
      .def(
          "logical_not", [](Builder& self, int x) { return self.add(make_logical_not(), {x}); }, py::arg("x"))
      .def(
          "select",
          [](Builder& self, int condition, int a, int b) {
            return self.add(make_select(self.operand(condition), self.operand(a), self.operand(b)),
                            {condition, a, b});
          },
          py::arg("condition"), py::arg("a"), py::arg("b"))
      .def(
          "apply_mask", [](Builder& self, int x, int mask) { return self.add(make_apply_mask(), {x, mask}); },
          py::arg("x"), py::arg("mask"))
      .def(
          "batch_normalization",
          [](Builder& self, int x, int axis, const WeightArray& mean, const WeightArray& variance,
             const std::optional<WeightArray>& gamma, const std::optional<WeightArray>& beta,
             double epsilon) {
            return self.add(make_batch_normalization(axis, view_of(mean), view_of(variance), view_of(gamma),
                                                     view_of(beta), epsilon),
                            {x});
          },
          py::arg("x"), py::kw_only(), py::arg("axis"), py::arg("mean"), py::arg("variance"),
          py::arg("gamma").none(true), py::arg("beta").none(true), py::arg("epsilon"))
      .def(
          "layer_normalization",
          [](Builder& self, int x, const std::vector<int>& axes, const std::optional<WeightArray>& gamma,
             const std::optional<WeightArray>& beta, double epsilon, bool root_mean_square) {
            return self.add(
                make_layer_normalization(axes, view_of(gamma), view_of(beta), epsilon, root_mean_square),
                {x});
          },
          py::arg("x"), py::kw_only(), py::arg("axes"), py::arg("gamma").none(true),
          py::arg("beta").none(true), py::arg("epsilon"), py::arg("root_mean_square") = false)
      .def(
          "reshape",
          [](Builder& self, int x, const std::vector<Index>& target) {
            return self.add(make_reshape(target), {x});
          },
          py::arg("x"), py::arg("target"))
      .def(
          "merge_time", [](Builder& self, int x) { return self.add(make_merge_time(), {x}); }, py::arg("x"))
      .def(
          "split_time", [](Builder& self, int x, int like) { return self.add(make_split_time(), {x, like}); },
          py::arg("x"), py::arg("like"))
      .def(
          "expand_dims", [](Builder& self, int x, int axis) { return self.add(make_expand_dims(axis), {x}); },
          py::arg("x"), py::arg("axis"))
      .def(
          "squeeze", [](Builder& self, int x, int axis) { return self.add(make_squeeze(axis), {x}); },
          py::arg("x"), py::arg("axis"))
      .def(
          "transpose",
          [](Builder& self, int x, const std::vector<int>& permutation) {
            return self.add(make_transpose(permutation), {x});
          },
          py::arg("x"), py::arg("permutation"))
      .def(
          "slice",
          [](Builder& self, int x, int axis, std::optional<Index> start, std::optional<Index> stop,
             Index step) { return self.add(make_slice(axis, start, stop, step), {x}); },
          py::arg("x"), py::kw_only(), py::arg("axis"), py::arg("start").none(true),
          py::arg("stop").none(true), py::arg("step") = 1)
      .def(
          "pad",
          [](Builder& self, int x, int axis, Index before, Index after) {
            return self.add(make_pad(axis, before, after), {x});
          },
          py::arg("x"), py::kw_only(), py::arg("axis"), py::arg("before"), py::arg("after"))
      .def(
          "repeat",
          [](Builder& self, int x, int axis, Index count) { return self.add(make_repeat(axis, count), {x}); },
          py::arg("x"), py::kw_only(), py::arg("axis"), py::arg("count"))
      .def(
          "concatenate",
          [](Builder& self, const std::vector<int>& xs, int axis) {
            if (xs.empty()) fail({"concatenate: expected at least one value"});
            return self.add(make_concatenate(axis), xs);
          },
          py::arg("xs"), py::kw_only(), py::arg("axis"))
      .def(
          "matmul",
          [](Builder& self, int a, int b, bool transpose_b) {
            return self.add(
                make_matmul(kernels::active_table(), self.operand(a), self.operand(b), transpose_b), {a, b});
          },
          py::arg("a"), py::arg("b"), py::kw_only(), py::arg("transpose_b") = false)
      .def(
          "cast",
          [](Builder& self, int x, const std::string& dtype) {
            return self.add(make_cast(dtype_from_string(dtype)), {x});
          },
          py::arg("x"), py::arg("dtype"))
      .def(
          "ones_like",
          [](Builder& self, int x, const std::string& dtype) {
            return self.add(make_ones_like(dtype_from_string(dtype)), {x});
          },
          py::arg("x"), py::arg("dtype"))
      .def("finish", &Builder::finish, py::arg("outputs"));
}

}  // namespace unrolled::bindings
