// SPDX-License-Identifier: MIT
// What the reader and the writer of plan files share; see docs/plan_file.md. For cpp/plan/plan_file*.cc only.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/aligned_buffer.h"

namespace unrolled::plan_file {

inline constexpr std::uint32_t kVersion = 1;
inline constexpr std::uint32_t kByteOrder = 0x01020304;

// As it lies in the file, little-endian.
struct Header {
  unsigned char magic[8];
  std::uint32_t byte_order;
  std::uint32_t version;
  std::uint64_t file_size;
  std::uint64_t tables_size;
  std::uint64_t weights_offset;
  std::uint64_t weights_size;
  std::uint32_t tables_checksum;
  std::uint32_t weights_checksum;
  std::uint32_t reserved;
  std::uint32_t header_checksum;  // of what comes before it
};
static_assert(sizeof(Header) == 64 && offsetof(Header, header_checksum) == 60);

enum class Entry : std::uint8_t { kInput = 0, kConstant = 1, kOperation = 2 };

// How an argument is written. Numbers are for ever.
enum class Tag : std::uint8_t {
  kNone = 0,
  kBool = 1,
  kInt = 2,
  kFloat = 3,
  kString = 4,
  kDType = 5,
  kInts = 6,
  kShapes = 7,
  kActivation = 8,
  kArray = 9,
  kPlan = 10,
  kParts = 11,
};

// Bounds that no model comes near.
inline constexpr int kMaxNesting = 4;  // plans within plans, and arguments within arguments
inline constexpr std::uint32_t kMaxName = 1 << 16;
inline constexpr std::uint32_t kMaxDescription = 1 << 24;
// How often, on average, the file's weights may be used: a hostile file could have an operation pack them
// once for every 20 bytes of its own.
inline constexpr Index kMaxUses = 64;

}  // namespace unrolled::plan_file
