// SPDX-License-Identifier: MIT
#include "plan/row_tables.h"

#include <algorithm>
#include <cstring>

namespace unrolled {

void gather(const RowTables& tables, const RunState& state, Range rows, AlignedBuffer& memory,
            std::span<const void*> from, std::span<void*> to) {
  const Index count = rows.end - rows.begin;
  Index bytes = 0;
  for (std::size_t i = tables.first_input; i < from.size(); ++i) {
    bytes += align_up(count * state.row_size(state.inputs[i]));
  }
  for (std::size_t i = tables.first_output; i < to.size(); ++i) {
    bytes += align_up(count * state.row_size(state.outputs[i]));
  }
  memory.reserve(std::max<Index>(bytes, 1));
  char* next = static_cast<char*>(memory.data());
  for (std::size_t i = tables.first_output; i < to.size(); ++i) {
    to[i] = next;
    next += align_up(count * state.row_size(state.outputs[i]));
  }
  for (std::size_t i = tables.first_input; i < from.size(); ++i) {
    const Index size = state.row_size(state.inputs[i]);
    const auto* table = static_cast<const char*>(from[i]);
    from[i] = next;
    for (Index row = rows.begin; row < rows.end; ++row) {
      const Index read = tables.reads[static_cast<std::size_t>(row)];
      std::memcpy(next + (row - rows.begin) * size, table + read * size, static_cast<std::size_t>(size));
    }
    next += align_up(count * size);
  }
}

void scatter(const RowTables& tables, const RunState& state, Range rows, const AlignedBuffer& memory,
             std::span<void* const> outputs) {
  const char* next = static_cast<const char*>(memory.data());
  for (std::size_t i = tables.first_output; i < outputs.size(); ++i) {
    const Index size = state.row_size(state.outputs[i]);
    auto* table = static_cast<char*>(outputs[i]);
    for (Index row = rows.begin; row < rows.end; ++row) {
      const Index written = tables.writes[static_cast<std::size_t>(row)];
      std::memcpy(table + written * size, next + (row - rows.begin) * size, static_cast<std::size_t>(size));
    }
    next += align_up((rows.end - rows.begin) * size);
  }
}

}  // namespace unrolled
