// SPDX-License-Identifier: MIT
#include "base/aligned_buffer.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace unrolled {
namespace {

// Weights of many megabytes are read once a timestep. In pages of 4 KiB their addresses do not fit the
// processor's translation buffer, and on a virtual machine a miss there costs the more: products of 16 MiB
// ran at 92 instead of 104 GFLOP/s (one Zen 4 core).
constexpr Index kHugePage = 2 << 20;
constexpr Index kWorthHugePages = kHugePage / 2;

}  // namespace

void AlignedBuffer::reserve(Index bytes) {
  if (bytes <= capacity_) return;
  data_.reset();
  capacity_ = 0;
  const bool is_large = bytes >= kWorthHugePages;
  const std::align_val_t alignment{static_cast<std::size_t>(is_large ? kHugePage : kAlignment)};
  const Index whole_pages = (bytes + kHugePage - 1) / kHugePage * kHugePage;
  const auto size = static_cast<std::size_t>(is_large ? whole_pages : bytes);
  data_ = {::operator new(size, alignment), AlignedDelete{alignment}};
  capacity_ = bytes;
#if defined(__linux__)
  // Advice: a system that grants no huge pages gives the usual ones.
  if (is_large) madvise(data_.get(), size, MADV_HUGEPAGE);
#endif
}

}  // namespace unrolled
