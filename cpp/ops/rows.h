// SPDX-License-Identifier: MIT
// How many rows go through a loop over time at once, by the weights that every timestep reads. Only times and
// memory depend on it.
#pragma once

#include "base/shape.h"

namespace unrolled {

// Whether weights fit beside the data in one core's second-level cache while its rows go by.
constexpr bool is_resident(double weight_bytes) { return weight_bytes <= 1.5 * (1 << 20); }

// Weights that do not stay in the cache are read once per timestep and block of rows.
inline constexpr Index kStreamedBlock = 128;
constexpr Index rows_at_once(double weight_bytes) { return is_resident(weight_bytes) ? 48 : kStreamedBlock; }

}  // namespace unrolled
