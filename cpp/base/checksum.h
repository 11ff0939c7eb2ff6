// SPDX-License-Identifier: MIT
// CRC-32 as zlib and PNG have it (polynomial 0xEDB88320, reflected).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace unrolled {

std::uint32_t crc32(std::span<const std::byte> data);

}  // namespace unrolled
