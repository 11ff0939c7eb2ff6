// SPDX-License-Identifier: MIT
// The Python module unrolled._core; its contract is python/unrolled/_core.pyi.
#include "base/threads.h"
#include "bindings/bindings.h"
#include "bindings/python_calls.h"
#include "kernels/dispatch.h"

// No GIL is needed: builders, plans and pools guard themselves, a stream refuses a second caller.
PYBIND11_MODULE(_core, module, pybind11::mod_gil_not_used()) {
  namespace py = pybind11;
  namespace bindings = unrolled::bindings;
  module.doc() = "The compiled part of unrolled: plans of operations over arrays.";
  bindings::watch_signals();
  bindings::bind_plan(module);
  bindings::bind_builder(module);
  bindings::bind_stream(module);
  bindings::bind_stream_pool(module);
  bindings::bind_generation(module);
  bindings::bind_plan_file(module);
  module.def("isa", [] { return unrolled::kernels::active_table().name; });
  module.def("available_isas", &unrolled::kernels::available_isas);
  module.def("set_num_threads", &unrolled::set_num_threads, py::arg("count"));
  module.def("get_num_threads", &unrolled::num_threads);
}
