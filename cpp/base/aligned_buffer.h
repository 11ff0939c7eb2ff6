// SPDX-License-Identifier: MIT
// Owned memory at a 64-byte boundary. It only grows, and growing discards what it held. Large memory comes
// from the system and goes straight back to it.
#pragma once

#include <cstddef>
#include <new>

#include "base/tensor.h"

namespace unrolled {

inline constexpr Index kAlignment = 64;

constexpr Index align_up(Index bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  explicit AlignedBuffer(Index bytes) { reserve(bytes); }
  ~AlignedBuffer() { free(); }
  AlignedBuffer(AlignedBuffer&& other) noexcept;
  AlignedBuffer& operator=(AlignedBuffer&& other) noexcept;
  AlignedBuffer(const AlignedBuffer&) = delete;
  AlignedBuffer& operator=(const AlignedBuffer&) = delete;

  void reserve(Index bytes);

  void* data() const { return data_; }
  float* floats() const { return static_cast<float*>(data_); }
  Index capacity() const { return capacity_; }

 private:
  void free();

  void* data_ = nullptr;
  Index capacity_ = 0;
};

}  // namespace unrolled
