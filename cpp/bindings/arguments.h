// SPDX-License-Identifier: MIT
// Arguments of operations from Python's, and back. For cpp/bindings only.
#pragma once

#include "bindings/bindings.h"
#include "plan/builder.h"

namespace unrolled::bindings {

// One item of an argument of kind kParts, checked.
struct Direction {
  Arguments arguments;
};

// As Python binds arguments to the parameters of a function. Throws TypeError and ValueError that name the
// operation and the argument.
Arguments bind_arguments(const Schema& schema, const py::args& args, const py::kwargs& kwargs);

py::object to_python(const Argument& argument);
py::dict to_python(const Arguments& arguments);
const char* to_string(Kind kind);

}  // namespace unrolled::bindings
