// SPDX-License-Identifier: MIT
// Stream and StreamPool: one timestep in, one out. Arrays that are right already cost no conversion; others
// go through the Python function `convert` first.
#include <cstring>
#include <string>

#include "bindings/arrays.h"
#include "bindings/bindings.h"
#include "bindings/python_calls.h"
#include "plan/generate.h"
#include "plan/stream.h"

namespace unrolled::bindings {
namespace {

// What a Stream and a StreamPool share: how Python's values become the plan's.
class Caller {
 public:
  Caller(const Plan& plan, const std::vector<std::vector<Index>>& input_shapes,
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

  const StreamPlan& plan() const { return plan_; }
  std::size_t input_count() const { return plan_.inputs.size(); }
  std::size_t output_count() const { return plan_.output_count; }

  // The inputs of a step, (rows, ...), or of a block, (rows, timesteps, ...). `rows` or `timesteps` below 0
  // is taken from the first input.
  void take_inputs(py::handle given, Index& rows, Index* timesteps, std::span<py::object> arrays,
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

  // Type of an output as the caller gets it: a step has no time axis.
  TensorType output_type(std::size_t index, const TensorType& type, bool is_step) const {
    if (!is_step || !sequence_outputs_[index]) return type;
    TensorType result{type.dtype, {}};
    result.shape.rank = type.shape.rank - 1;
    result.shape.dims[0] = type.shape.dims[0];
    for (int i = 1; i < result.shape.rank; ++i) result.shape.dims[i] = type.shape.dims[i + 1];
    return result;
  }

  // Fresh outputs, or those that the caller gave; what the caller gets back.
  py::object take_outputs(std::span<const TensorType> types, bool is_step, py::handle given,
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

 private:
  bool fits(const py::array& array, const TensorType& type, Index rows, const Index* timesteps) const {
    const int skipped = timesteps == nullptr ? 1 : 0;
    if (array.ndim() != type.shape.rank - skipped) return false;
    if (rows >= 0 && array.shape(0) != rows) return false;
    if (timesteps != nullptr && *timesteps >= 0 && array.shape(1) != *timesteps) return false;
    for (int i = 2; i < type.shape.rank; ++i) {
      if (array.shape(i - skipped) != type.shape.dims[i]) return false;
    }
    return true;
  }

  const void* take_input(std::size_t index, py::handle given, Index& rows, Index* timesteps,
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

  py::object take_output(std::size_t index, const TensorType& type, bool is_step, py::handle given,
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

  StreamPlan plan_;
  std::vector<bool> sequence_outputs_;
  py::function convert_;
};

// Copies of states as arrays, and arrays checked to be states.
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

// One caller at a time: a second one is told so instead of mixing up the states.
class Turn {
 public:
  Turn(ForkSafeMutex& mutex, Stream& stream) : mutex_(mutex) {
    bool is_inherited = false;
    if (!mutex_.try_lock(is_inherited)) {
      throw std::runtime_error(
          "this stream is being run by another thread; give each thread its own (copy())");
    }
    if (!is_inherited) return;
    try {
      stream.forget_parent();
    } catch (...) {
      mutex_.unlock_unwaited();
      throw;
    }
  }
  ~Turn() { mutex_.unlock_unwaited(); }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;

 private:
  ForkSafeMutex& mutex_;
};

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

class BoundStream {
 public:
  BoundStream(Caller caller, Index rows) : caller_(std::move(caller)), stream_(caller_.plan(), rows) {}

  py::object step(py::handle x, py::handle out) {
    const Turn turn(busy_, stream_);
    Index rows = stream_.rows();
    SmallVector<py::object> arrays(caller_.input_count());
    SmallVector<const void*> from(caller_.input_count());
    SmallVector<void*> to(caller_.output_count());
    caller_.take_inputs(x, rows, nullptr, arrays.get(), from.get());
    py::object result = caller_.take_outputs(stream_.step_outputs(), true, out, arrays.get(), to.get());
    if (stream_.is_short()) {
      Stop never;
      stream_.step(from.get(), to.get(), never);
    } else {
      without_gil([&](Stop& stop) { stream_.step(from.get(), to.get(), stop); });
    }
    return result;
  }

  py::object run(py::handle x) {
    const Turn turn(busy_, stream_);
    Index rows = stream_.rows();
    Index timesteps = -1;
    SmallVector<py::object> arrays(caller_.input_count());
    SmallVector<const void*> from(caller_.input_count());
    SmallVector<void*> to(caller_.output_count());
    caller_.take_inputs(x, rows, &timesteps, arrays.get(), from.get());
    if (timesteps < 1) fail({"expected at least one timestep"});
    const std::vector<TensorType> types = stream_.outputs(timesteps);
    py::object result = caller_.take_outputs(types, false, py::none(), arrays.get(), to.get());
    without_gil([&](Stop& stop) { stream_.run(timesteps, from.get(), to.get(), stop); });
    return result;
  }

  void reset(const std::optional<std::vector<Index>>& rows) {
    const Turn turn(busy_, stream_);
    if (!rows) return stream_.reset();
    for (const Index row : *rows) {
      if (row < 0 || row >= stream_.rows()) {
        fail({"reset: no row ", std::to_string(row), " in a stream of ", std::to_string(stream_.rows()),
              " rows"});
      }
    }
    for (const Index row : *rows) stream_.reset_row(row);
  }

  py::array generate(const WeightArray& outputs, const std::string& feed, Index steps, Index width,
                     double temperature, Index top_k, bool from_logits, std::uint64_t seed) {
    const Turn turn(busy_, stream_);
    const Generation generation = make_generation(feed, steps, width, temperature, top_k, from_logits, seed);
    const StreamPlan& plan = caller_.plan();
    const bool is_ids = generation.feed == Feed::kIds;
    if (plan.inputs.size() != 1 || plan.output_count != 1 || plan.inputs[0].shape.rank != (is_ids ? 2 : 3) ||
        plan.inputs[0].dtype != (is_ids ? DType::kInt32 : DType::kFloat32) ||
        (!is_ids && plan.inputs[0].shape.dims[2] != width) ||
        stream_.step_outputs()[0].dtype != DType::kFloat32 ||
        element_count(stream_.step_outputs()[0].shape) != stream_.rows() * width) {
      fail({"generate: one input does not fit one float32 output of ", std::to_string(width)});
    }
    if (outputs.ndim() != 2 || outputs.shape(0) != stream_.rows() || outputs.shape(1) != width) {
      fail({"generate: expected last outputs of shape (", std::to_string(stream_.rows()), ", ",
            std::to_string(width), "), got ", describe(outputs)});
    }
    py::array results = new_results(generation, stream_.rows());
    void* to = results.mutable_data();
    without_gil([&](Stop& stop) { unrolled::generate(stream_, generation, outputs.data(), to, stop); });
    return results;
  }

  double bytes_per_timestep() const { return stream_.bytes_per_timestep(); }

  py::list states() {
    const Turn turn(busy_, stream_);
    py::list result;
    const std::vector<CarriedState>& states = caller_.plan().states;
    for (std::size_t i = 0; i < states.size(); ++i) {
      py::array array = state_array(states[i], stream_.rows());
      std::memcpy(array.mutable_data(), stream_.state(i), static_cast<std::size_t>(array.nbytes()));
      result.append(std::move(array));
    }
    return result;
  }

  void set_states(const py::sequence& given, const std::vector<std::int64_t>& seen) {
    const Turn turn(busy_, stream_);
    const std::vector<CarriedState>& states = caller_.plan().states;
    if (given.size() != states.size() || seen.size() != stream_.timesteps_seen().size()) {
      fail({"set_state: expected ", std::to_string(states.size()), " states of ",
            std::to_string(stream_.rows()), " rows"});
    }
    std::vector<py::array> arrays;
    for (std::size_t i = 0; i < states.size(); ++i) {
      const py::object item = given[i];
      arrays.push_back(check_state(states[i], stream_.rows(), i, item));
    }
    for (std::size_t i = 0; i < states.size(); ++i) {
      std::memcpy(stream_.state(i), arrays[i].data(), static_cast<std::size_t>(arrays[i].nbytes()));
    }
    std::copy(seen.begin(), seen.end(), stream_.timesteps_seen().begin());
  }

  std::vector<std::int64_t> timesteps_seen() {
    return {stream_.timesteps_seen().begin(), stream_.timesteps_seen().end()};
  }

 private:
  Caller caller_;
  Stream stream_;
  ForkSafeMutex busy_;
};

class BoundPool {
 public:
  BoundPool(Caller caller, Index capacity) : caller_(std::move(caller)), pool_(caller_.plan(), capacity) {}

  py::object step(py::handle ids, py::handle x, py::handle out) {
    const py::array_t<std::int64_t, py::array::c_style> clients = take_ids(ids);
    Index rows = clients.shape(0);
    SmallVector<py::object> arrays(caller_.input_count());
    SmallVector<const void*> from(caller_.input_count());
    SmallVector<void*> to(caller_.output_count());
    caller_.take_inputs(x, rows, nullptr, arrays.get(), from.get());
    const std::vector<TensorType> types = pool_.outputs(rows);
    py::object result = caller_.take_outputs(types, true, out, arrays.get(), to.get());
    if (rows == 0) return result;
    // A copy: the caller's array may change while other threads run.
    const std::vector<std::int64_t> copied(clients.data(), clients.data() + rows);
    without_gil([&](Stop& stop) { pool_.step(copied, from.get(), to.get(), stop); });
    return result;
  }

  std::int64_t open() {
    std::int64_t id = -1;
    without_gil([&](Stop&) { id = pool_.open(); });
    return id;
  }
  void close(std::int64_t id) {
    without_gil([&](Stop&) { pool_.close(id); });
  }
  void reset(std::int64_t id) {
    without_gil([&](Stop&) { pool_.reset(id); });
  }
  Index size() const {
    Index size = 0;
    without_gil([&](Stop&) { size = pool_.size(); });
    return size;
  }
  Index capacity() const {
    Index capacity = 0;
    without_gil([&](Stop&) { capacity = pool_.capacity(); });
    return capacity;
  }

  py::tuple state(std::int64_t id) const {
    py::list arrays;
    std::vector<void*> to;
    for (const CarriedState& state : caller_.plan().states) {
      py::array array = state_array(state, 1);
      to.push_back(array.mutable_data());
      arrays.append(std::move(array));
    }
    std::int64_t seen = 0;
    without_gil([&](Stop&) { pool_.read(id, to, seen); });
    return py::make_tuple(arrays, seen);
  }

  void set_state(std::int64_t id, const py::sequence& given, std::int64_t seen) {
    const std::vector<CarriedState>& states = caller_.plan().states;
    if (given.size() != states.size())
      fail({"set_state: expected ", std::to_string(states.size()), " states"});
    std::vector<py::array> arrays;
    std::vector<const void*> from;
    for (std::size_t i = 0; i < states.size(); ++i) {
      const py::object item = given[i];
      arrays.push_back(check_state(states[i], 1, i, item));
      from.push_back(arrays.back().data());
    }
    without_gil([&](Stop&) { pool_.write(id, from, seen); });
  }

 private:
  static py::array_t<std::int64_t, py::array::c_style> take_ids(py::handle ids) {
    const auto array = py::array::ensure(ids);
    if (!array) throw py::error_already_set();
    const char kind = array.dtype().kind();
    if (array.ndim() != 1 || (kind != 'i' && kind != 'u' && array.size() > 0)) {
      fail({"ids: expected a list of client ids, got ", describe(array)});
    }
    auto result = py::array_t<std::int64_t, py::array::c_style | py::array::forcecast>::ensure(array);
    if (!result) throw py::error_already_set();
    return result;
  }

  Caller caller_;
  StreamPool pool_;
};

template <typename Bound>
std::unique_ptr<Bound> make(const Plan& plan, Index rows, const std::vector<std::vector<Index>>& input_shapes,
                            const std::vector<std::tuple<std::string, std::vector<Index>, double>>& states,
                            std::vector<bool> sequence_outputs, py::function convert) {
  return std::make_unique<Bound>(
      Caller(plan, input_shapes, states, std::move(sequence_outputs), std::move(convert)), rows);
}

}  // namespace

void bind_stream(py::module_& module) {
  module.def("generate_from_window", &generate_from_window, py::arg("plan"), py::arg("window"), py::kw_only(),
             py::arg("feed"), py::arg("steps"), py::arg("width"), py::arg("temperature"), py::arg("top_k"),
             py::arg("from_logits"), py::arg("seed"));
  py::class_<BoundStream>(module, "Stream", "Rows stepped together; for one thread at a time.")
      .def(py::init(&make<BoundStream>), py::keep_alive<1, 2>(), py::arg("plan"), py::arg("rows"),
           py::kw_only(), py::arg("input_shapes"), py::arg("states"), py::arg("sequence_outputs"),
           py::arg("convert"))
      .def("step", &BoundStream::step, py::arg("x"), py::arg("out") = py::none())
      .def("run", &BoundStream::run, py::arg("x"))
      .def("bytes_per_timestep", &BoundStream::bytes_per_timestep)
      .def("generate", &BoundStream::generate, py::arg("outputs"), py::kw_only(), py::arg("feed"),
           py::arg("steps"), py::arg("width"), py::arg("temperature"), py::arg("top_k"),
           py::arg("from_logits"), py::arg("seed"))
      .def("reset", &BoundStream::reset, py::arg("rows") = py::none())
      .def("states", &BoundStream::states)
      .def("set_states", &BoundStream::set_states, py::arg("states"), py::arg("timesteps_seen"))
      .def("timesteps_seen", &BoundStream::timesteps_seen);
  py::class_<BoundPool>(module, "StreamPool", "Clients stepped together; thread-safe.")
      .def(py::init(&make<BoundPool>), py::keep_alive<1, 2>(), py::arg("plan"), py::arg("capacity"),
           py::kw_only(), py::arg("input_shapes"), py::arg("states"), py::arg("sequence_outputs"),
           py::arg("convert"))
      .def("step", &BoundPool::step, py::arg("ids"), py::arg("x"), py::arg("out") = py::none())
      .def("open", &BoundPool::open)
      .def("close", &BoundPool::close, py::arg("id"))
      .def("reset", &BoundPool::reset, py::arg("id"))
      .def("size", &BoundPool::size)
      .def("capacity", &BoundPool::capacity)
      .def("state", &BoundPool::state, py::arg("id"))
      .def("set_state", &BoundPool::set_state, py::arg("id"), py::arg("states"), py::arg("timesteps_seen"));
}

}  // namespace unrolled::bindings
