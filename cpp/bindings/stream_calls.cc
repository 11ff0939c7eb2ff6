// SPDX-License-Identifier: MIT
#include "bindings/stream_calls.h"

#include "bindings/arrays.h"

namespace unrolled::bindings {

Caller::Caller(const Plan& plan, const std::vector<std::vector<Index>>& input_shapes,
               const std::vector<std::tuple<std::string, std::vector<Index>, double>>& states,
               std::vector<bool> sequence_outputs, py::function convert)
    : sequence_outputs_(std::move(sequence_outputs)), convert_(std::move(convert)) {
  plan_.plan = &plan;
  plan_.output_count = sequence_outputs_.size();
  if (plan.input_count() != input_shapes.size() + states.size()) {
    fail({"stream: expected shapes of all inputs and states"});
  }
  for (std::size_t i = 0; i < input_shapes.size(); ++i) {
    std::vector<Index> shape{1, 1};
    shape.insert(shape.end(), input_shapes[i].begin(), input_shapes[i].end());
    plan_.inputs.push_back({plan.input_type(i).dtype, make_shape(shape)});
  }
  for (const auto& [dtype, shape, initial] : states) {
    plan_.states.push_back({{dtype_from_string(dtype), make_shape(shape)}, static_cast<float>(initial)});
  }
}

void Caller::take_inputs(py::handle given, Index& rows, Index* timesteps, std::span<py::object> arrays,
                         std::span<const void*> from) const {
  if (arrays.size() == 1) {
    from[0] = take_input(0, given, rows, timesteps, arrays[0]);
    return;
  }
  const auto items = py::reinterpret_borrow<py::sequence>(given);
  if (!py::isinstance<py::sequence>(given) || items.size() != arrays.size()) {
    fail({"expected a list of ", std::to_string(arrays.size()), " inputs"});
  }
  for (std::size_t i = 0; i < arrays.size(); ++i) {
    const py::object item = items[i];
    from[i] = take_input(i, item, rows, timesteps, arrays[i]);
  }
}

TensorType Caller::output_type(std::size_t index, const TensorType& type, bool is_step) const {
  if (!is_step || !sequence_outputs_[index]) return type;
  TensorType result{type.dtype, {}};
  result.shape.rank = type.shape.rank - 1;
  result.shape.dims[0] = type.shape.dims[0];
  for (int i = 1; i < result.shape.rank; ++i) result.shape.dims[i] = type.shape.dims[i + 1];
  return result;
}

py::object Caller::take_outputs(std::span<const TensorType> types, bool is_step, py::handle given,
                                std::span<py::object> inputs, std::span<void*> to) const {
  if (types.size() == 1) return take_output(0, types[0], is_step, given, inputs, to[0]);
  py::list results(types.size());
  if (!given.is_none() && (!py::isinstance<py::sequence>(given) || py::len(given) != results.size())) {
    fail({"out: expected a list of ", std::to_string(types.size()), " arrays"});
  }
  for (std::size_t i = 0; i < types.size(); ++i) {
    const py::object item =
        given.is_none() ? py::object(py::none()) : py::reinterpret_borrow<py::sequence>(given)[i];
    results[i] = take_output(i, types[i], is_step, item, inputs, to[i]);
  }
  return results;
}

bool Caller::fits(const py::array& array, const TensorType& type, Index rows, const Index* timesteps) const {
  const int skipped = timesteps == nullptr ? 1 : 0;
  if (array.ndim() != type.shape.rank - skipped) return false;
  if (rows >= 0 && array.shape(0) != rows) return false;
  if (timesteps != nullptr && *timesteps >= 0 && array.shape(1) != *timesteps) return false;
  for (int i = 2; i < type.shape.rank; ++i) {
    if (array.shape(i - skipped) != type.shape.dims[i]) return false;
  }
  return true;
}

const void* Caller::take_input(std::size_t index, py::handle given, Index& rows, Index* timesteps,
                               py::object& keeper) const {
  const TensorType& type = plan_.inputs[index];
  const bool is_array = py::isinstance<py::array>(given);
  auto result = py::reinterpret_borrow<py::array>(given);
  if (!is_array || !has_dtype(result, type.dtype) || !is_ready(result)) {
    result = convert_(index, given).cast<py::array>();
    if (!has_dtype(result, type.dtype) || !is_ready(result)) fail({"input: convert gave another dtype"});
  }
  if (!fits(result, type, rows, timesteps)) {
    const auto size = [](Index n, const char* name) { return n < 0 ? name : std::to_string(n); };
    std::string expected = "(" + size(rows, "batch");
    if (timesteps != nullptr) expected += ", " + size(*timesteps, "timesteps");
    for (int i = 2; i < type.shape.rank; ++i) expected += ", " + std::to_string(type.shape.dims[i]);
    expected += expected.find(',') == std::string::npos ? ",)" : ")";
    fail({plan_.inputs.size() == 1 ? "" : "input " + std::to_string(index) + ": ", "expected shape ",
          expected, ", got ", describe(result)});
  }
  rows = result.shape(0);
  if (timesteps != nullptr) *timesteps = result.shape(1);
  const void* data = result.data();
  keeper = std::move(result);
  return data;
}

py::object Caller::take_output(std::size_t index, const TensorType& type, bool is_step, py::handle given,
                               std::span<py::object> inputs, void*& to) const {
  const TensorType expected = output_type(index, type, is_step);
  if (given.is_none()) {
    py::array result = new_array(expected);
    to = result.mutable_data();
    return result;
  }
  if (!py::isinstance<py::array>(given)) fail({"out: expected a NumPy array"});
  auto array = py::reinterpret_borrow<py::array>(given);
  bool is_right = has_dtype(array, expected.dtype) && is_ready(array) && array.writeable() &&
                  array.ndim() == expected.shape.rank;
  for (int i = 0; is_right && i < expected.shape.rank; ++i) {
    is_right = array.shape(i) == expected.shape.dims[i];
  }
  if (!is_right) {
    fail({"out: expected a writeable array in C order, ", to_string(expected), ", got ", describe(array)});
  }
  to = array.mutable_data();
  const auto* begin = static_cast<const char*>(to);
  for (const py::object& object : inputs) {
    const auto input = py::reinterpret_borrow<py::array>(object);
    const auto* other = static_cast<const char*>(input.data());
    if (begin < other + input.nbytes() && other < begin + array.nbytes()) {
      fail({"out: shares memory with the input"});
    }
  }
  return array;
}

py::array state_array(const CarriedState& state, Index rows) {
  TensorType type{state.row.dtype, {}};
  type.shape.rank = state.row.shape.rank + 1;
  type.shape.dims[0] = rows;
  std::copy_n(state.row.shape.dims, state.row.shape.rank, type.shape.dims + 1);
  return new_array(type);
}

py::array check_state(const CarriedState& state, Index rows, std::size_t index, py::handle given) {
  const py::array expected = state_array(state, rows);
  if (py::isinstance<py::array>(given)) {
    auto array = py::reinterpret_borrow<py::array>(given);
    bool fits = has_dtype(array, state.row.dtype) && is_ready(array) && array.ndim() == expected.ndim();
    for (py::ssize_t i = 0; fits && i < array.ndim(); ++i) fits = array.shape(i) == expected.shape(i);
    if (fits) return array;
  }
  fail({"state ", std::to_string(index), ": expected ", describe(expected)});
}

}  // namespace unrolled::bindings
