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

class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  explicit AlignedBuffer(Index bytes) { reserve(bytes); }

  void reserve(Index bytes) {
    if (bytes <= capacity_) return;
    data_.reset();
    capacity_ = 0;
    data_.reset(::operator new(static_cast<std::size_t>(bytes), std::align_val_t{kAlignment}));
    capacity_ = bytes;
  }

  void* data() const { return data_.get(); }
  float* floats() const { return static_cast<float*>(data_.get()); }
  Index capacity() const { return capacity_; }

 private:
  struct Free {
    void operator()(void* memory) const { ::operator delete(memory, std::align_val_t{kAlignment}); }
  };
  std::unique_ptr<void, Free> data_;
  Index capacity_ = 0;
};

}  // namespace unrolled
