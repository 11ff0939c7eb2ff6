// SPDX-License-Identifier: MIT
// Fuzz target: any bytes as a plan file. Checksums are made right first, so that what is behind them is
// tried.
#include "plan/plan_file.h"

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "base/aligned_buffer.h"
#include "base/checksum.h"
#include "plan/plan_file_layout.h"

using namespace unrolled;

namespace {

void make_checksums_right(std::byte* bytes, std::size_t size) {
  plan_file::Header header;
  if (size < sizeof(header)) return;
  std::memcpy(&header, bytes, sizeof(header));
  const std::size_t tables = std::min<std::uint64_t>(header.tables_size, size - sizeof(header));
  header.tables_checksum = crc32({bytes + sizeof(header), tables});
  const std::size_t weights = std::min<std::uint64_t>(header.weights_offset, size);
  header.weights_checksum = crc32({bytes + weights, size - weights});
  header.file_size = size;
  header.weights_size = size - weights;
  header.header_checksum =
      crc32({reinterpret_cast<const std::byte*>(&header), offsetof(plan_file::Header, header_checksum)});
  std::memcpy(bytes, &header, sizeof(header));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  const bool verify = (data[0] & 1) != 0;
  const bool repair = (data[0] & 2) != 0;
  AlignedBuffer buffer(static_cast<Index>(size));
  std::memcpy(buffer.data(), data + 1, size - 1);
  auto* bytes = static_cast<std::byte*>(buffer.data());
  if (repair) make_checksums_right(bytes, size - 1);
  try {
    const PlanFile file = read_plan_file({bytes, size - 1}, nullptr, verify);
    // What can be read can be written, and is then the same.
    const std::vector<std::byte> again = write_plan_file(file);
    AlignedBuffer copy(static_cast<Index>(again.size()));
    std::memcpy(copy.data(), again.data(), again.size());
    const PlanFile twice =
        read_plan_file({static_cast<const std::byte*>(copy.data()), again.size()}, nullptr, true);
    if (write_plan_file(twice) != again) __builtin_trap();
  } catch (const PlanFileError&) {
  } catch (const std::bad_alloc&) {
  }
  return 0;
}
