// SPDX-License-Identifier: MIT
// Weights in the order in which the kernels read them, packed when they are first needed: a model that is
// opened, or lowered for a stream that nobody steps, packs nothing.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <utility>

#include "base/aligned_buffer.h"

namespace unrolled {

class PackedWeights {
 public:
  // `pack` fills so many bytes; what it reads must stay, and it may be called by several threads at once.
  PackedWeights(Index bytes, std::function<void(float*)> pack) : bytes_(bytes), pack_(std::move(pack)) {}
  PackedWeights() = default;
  PackedWeights(PackedWeights&& other) noexcept
      : bytes_(other.bytes_), pack_(std::move(other.pack_)), packed_(other.packed_.exchange(nullptr)) {}
  PackedWeights& operator=(PackedWeights&& other) noexcept {
    bytes_ = other.bytes_;
    pack_ = std::move(other.pack_);
    delete packed_.exchange(other.packed_.exchange(nullptr));
    return *this;
  }
  ~PackedWeights() { delete packed_.load(); }

  Index bytes() const { return bytes_; }

  // Without a lock, which a forked child could find held for ever: where two threads come first, both pack
  // and one of the results is kept.
  void make_ready() const {
    if (packed_.load(std::memory_order_acquire) != nullptr) return;
    auto fresh = std::make_unique<AlignedBuffer>(bytes_);
    pack_(fresh->floats());
    AlignedBuffer* expected = nullptr;
    if (packed_.compare_exchange_strong(expected, fresh.get(), std::memory_order_acq_rel)) {
      (void)fresh.release();
    }
  }

  // After make_ready().
  const float* floats() const { return packed_.load(std::memory_order_acquire)->floats(); }

 private:
  Index bytes_ = 0;
  std::function<void(float*)> pack_;
  mutable std::atomic<AlignedBuffer*> packed_{nullptr};
};

}  // namespace unrolled
