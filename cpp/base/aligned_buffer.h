// SPDX-License-Identifier: MIT
// Owned memory at a 64-byte boundary. It only grows, and growing discards what it held.
#pragma once

#include <cstddef>
#include <memory>
#include <new>

#include "base/tensor.h"

namespace unrolled {

inline constexpr Index kAlignment = 64;

constexpr Index align_up(Index bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

struct AlignedDelete {
  std::align_val_t alignment{kAlignment};
  void operator()(void* memory) const { ::operator delete(memory, alignment); }
};

class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  explicit AlignedBuffer(Index bytes) { reserve(bytes); }

  void reserve(Index bytes);

  void* data() const { return data_.get(); }
  float* floats() const { return static_cast<float*>(data_.get()); }
  Index capacity() const { return capacity_; }

 private:
  std::unique_ptr<void, AlignedDelete> data_;
  Index capacity_ = 0;
};

}  // namespace unrolled
