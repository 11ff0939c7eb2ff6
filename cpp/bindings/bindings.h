// SPDX-License-Identifier: MIT
// The parts of the Python module, and how NumPy arrays become checked C++ views. For cpp/bindings only.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <memory>
#include <optional>
#include <vector>

#include "plan/plan.h"

namespace unrolled::bindings {

namespace py = pybind11;

// Weights may come in any float dtype and layout; the copy, where one is needed, lives as long as this.
using WeightArray = py::array_t<float, py::array::c_style | py::array::forcecast>;

void bind_builder(py::module_& module);
void bind_plan(py::module_& module);
void bind_plan_file(py::module_& module);
void bind_stream(py::module_& module);
void bind_stream_pool(py::module_& module);
void bind_generation(py::module_& module);

}  // namespace unrolled::bindings
