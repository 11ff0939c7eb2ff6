// SPDX-License-Identifier: MIT
// StreamPool: clients stepped together.
#include "bindings/arrays.h"
#include "bindings/python_calls.h"
#include "bindings/stream_calls.h"
#include "plan/stream_pool.h"

namespace unrolled::bindings {
namespace {

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

}  // namespace

void bind_stream_pool(py::module_& module) {
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
