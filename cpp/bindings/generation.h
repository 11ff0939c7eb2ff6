// SPDX-License-Identifier: MIT
// Generation from Python's arguments. For cpp/bindings only.
#pragma once

#include <string>

#include "bindings/bindings.h"
#include "plan/generate.h"

namespace unrolled::bindings {

Generation make_generation(const std::string& feed, Index steps, Index width, double temperature, Index top_k,
                           bool from_logits, std::uint64_t seed);

// The array of what is generated.
py::array new_results(const Generation& generation, Index rows);

}  // namespace unrolled::bindings
