// SPDX-License-Identifier: MIT
// Stream: rows stepped together, one timestep in, one out.
#include <cstring>

#include "bindings/arrays.h"
#include "bindings/generation.h"
#include "bindings/python_calls.h"
#include "bindings/stream_calls.h"
#include "plan/stream.h"

namespace unrolled::bindings {
namespace {

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

}  // namespace

void bind_stream(py::module_& module) {
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
}

}  // namespace unrolled::bindings
