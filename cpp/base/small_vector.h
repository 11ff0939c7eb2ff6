// SPDX-License-Identifier: MIT
// As many elements as are asked for, on the stack for the usual few.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace unrolled {

template <typename T, std::size_t kFew = 4>
class SmallVector {
 public:
  explicit SmallVector(std::size_t count) : count_(count) {
    if (count > kFew) many_.resize(count);
  }
  T& operator[](std::size_t i) { return data()[i]; }
  std::span<T> get() { return {data(), count_}; }

 private:
  T* data() { return count_ > kFew ? many_.data() : few_; }

  std::size_t count_;
  T few_[kFew] = {};
  std::vector<T> many_;
};

}  // namespace unrolled
