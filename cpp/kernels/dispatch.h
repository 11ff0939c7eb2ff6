// SPDX-License-Identifier: MIT
// Which kernel table runs: the best that this CPU and its operating system support, chosen once at
// import, or the one that the environment variable UNROLLED_ISA names.
#pragma once

#include <string>
#include <vector>

#include "kernels/table.h"

namespace unrolled::kernels {

// Best last; only what this machine can run.
std::vector<std::string> available_isas();

// Throws std::invalid_argument naming what is available when `name` is not.
const KernelTable& table_by_name(const std::string& name);

// The table in use: UNROLLED_ISA, else the best. Throws as table_by_name does.
const KernelTable& active_table();

}  // namespace unrolled::kernels
