// SPDX-License-Identifier: MIT
// Fuzz target: a plan file through the C library, opened, described, run on small inputs and stepped.
#include <unrolled.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "base/checksum.h"
#include "plan/plan_file_layout.h"

namespace {

constexpr std::int64_t kMaxElements = 1 << 16;

// The bytes of an array of this description, where sizes that are open become `size`; 0 where it is large.
std::size_t close_sizes(unrolled_tensor& tensor, std::int64_t size) {
  std::int64_t count = 1;
  for (int axis = 0; axis < tensor.rank; ++axis) {
    if (tensor.shape[axis] < 0 || axis == 0) tensor.shape[axis] = size;
    if (tensor.shape[axis] > kMaxElements) return 0;
    count *= tensor.shape[axis];
    if (count > kMaxElements) return 0;
  }
  tensor.bytes = static_cast<std::size_t>(count) * (tensor.dtype == UNROLLED_BOOL ? 1 : 4);
  return std::max<std::size_t>(tensor.bytes, 1);
}

void run(const unrolled_model* model, std::int64_t size) {
  std::vector<unrolled_tensor> inputs(unrolled_input_count(model));
  std::vector<unrolled_tensor> outputs(unrolled_output_count(model));
  std::vector<std::vector<char>> memory;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    if (unrolled_input(model, i, &inputs[i]) != UNROLLED_OK) __builtin_trap();
    const std::size_t bytes = close_sizes(inputs[i], size);
    if (bytes == 0) return;
    memory.emplace_back(bytes);
    inputs[i].data = memory.back().data();
  }
  if (unrolled_run(model, inputs.data(), outputs.data()) != UNROLLED_OK) return;
  for (unrolled_tensor& output : outputs) {
    std::int64_t count = 4;
    for (int axis = 0; axis < output.rank; ++axis) {
      if (output.shape[axis] > kMaxElements) return;
      count *= output.shape[axis];
      if (count > 4 * kMaxElements) return;
    }
    memory.emplace_back(static_cast<std::size_t>(std::max<std::int64_t>(count, 1)));
    output.data = memory.back().data();
    output.bytes = static_cast<std::size_t>(count);
  }
  (void)unrolled_run(model, inputs.data(), outputs.data());
}

void step(const unrolled_model* model) {
  unrolled_stream* stream = nullptr;
  if (unrolled_stream_new(model, 2, &stream) != UNROLLED_OK) return;
  std::vector<std::vector<char>> memory;
  std::vector<const void*> from;
  std::vector<void*> to;
  bool is_small = true;
  const auto take = [&](unrolled_tensor& tensor) -> void* {
    const std::size_t bytes = close_sizes(tensor, 2);
    is_small = is_small && bytes > 0;
    memory.emplace_back(bytes);
    return memory.back().data();
  };
  unrolled_tensor tensor;
  for (std::size_t i = 0; i < unrolled_input_count(model); ++i) {
    if (unrolled_stream_input(stream, i, &tensor) != UNROLLED_OK) __builtin_trap();
    from.push_back(take(tensor));
  }
  for (std::size_t i = 0; i < unrolled_output_count(model); ++i) {
    if (unrolled_stream_output(stream, i, &tensor) != UNROLLED_OK) __builtin_trap();
    // Outputs without the batch first have sizes of their own.
    const std::int64_t first = tensor.rank > 0 ? tensor.shape[0] : 1;
    const std::size_t bytes = close_sizes(tensor, first);
    is_small = is_small && bytes > 0 && first <= kMaxElements;
    memory.emplace_back(bytes);
    to.push_back(memory.back().data());
  }
  if (is_small && unrolled_stream_state_bytes(stream) < static_cast<std::size_t>(kMaxElements)) {
    (void)unrolled_stream_step(stream, from.data(), to.data());
    std::vector<char> state(unrolled_stream_state_bytes(stream));
    if (unrolled_stream_get_state(stream, state.data(), state.size()) != UNROLLED_OK) __builtin_trap();
    if (unrolled_stream_set_state(stream, state.data(), state.size()) != UNROLLED_OK) __builtin_trap();
    (void)unrolled_stream_step(stream, from.data(), to.data());
    unrolled_stream_reset(stream);
  }
  unrolled_stream_free(stream);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using unrolled::crc32;
  if (size < 2) return 0;
  std::vector<std::byte> bytes(size - 1);
  std::memcpy(bytes.data(), data + 1, size - 1);
  unrolled::plan_file::Header header;
  if (bytes.size() >= sizeof(header)) {  // the checksums are right
    std::memcpy(&header, bytes.data(), sizeof(header));
    const std::size_t tables = std::min<std::uint64_t>(header.tables_size, bytes.size() - sizeof(header));
    header.tables_checksum = crc32({bytes.data() + sizeof(header), tables});
    header.header_checksum = crc32({reinterpret_cast<const std::byte*>(&header),
                                    offsetof(unrolled::plan_file::Header, header_checksum)});
    std::memcpy(bytes.data(), &header, sizeof(header));
  }
  unrolled_model* model = nullptr;
  if (unrolled_open_memory(bytes.data(), bytes.size(), 0, &model) != UNROLLED_OK) return 0;
  (void)unrolled_set_num_threads(1);
  run(model, 1 + (data[0] & 7));
  step(model);
  unrolled_close(model);
  return 0;
}
