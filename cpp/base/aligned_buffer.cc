// SPDX-License-Identifier: MIT
#include "base/aligned_buffer.h"

#include <utility>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace unrolled {
namespace {

// Weights of many megabytes are read once a timestep. In pages of 4 KiB their addresses do not fit the
// processor's translation buffer, and on a virtual machine a miss there costs the more: products of 16 MiB
// ran at 92 instead of 104 GFLOP/s (one Zen 4 core).
constexpr std::size_t kHugePage = 2 << 20;
constexpr std::size_t kWorthHugePages = kHugePage / 2;
// Memory from here on is mapped, and goes back to the system at once when it is freed: malloc keeps what it
// once had, and advice for huge pages would stay on it. Smaller memory is worth no system call.
constexpr std::size_t kWorthMapping = 256 << 10;

#if defined(__linux__)
std::size_t mapped_size(std::size_t bytes) {
  const std::size_t page = bytes >= kWorthHugePages ? kHugePage : 4096;
  return (bytes + page - 1) / page * page;
}

void* map(std::size_t bytes) {
  const std::size_t size = mapped_size(bytes);
  const bool is_huge = bytes >= kWorthHugePages;
  // Mapped with room to begin at a huge page; what lies around is given back.
  const std::size_t room = is_huge ? kHugePage : 0;
  if (size + room < size) throw std::bad_alloc();
  void* mapped = mmap(nullptr, size + room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) throw std::bad_alloc();
  char* begin = static_cast<char*>(mapped);
  const std::size_t before =
      is_huge ? (kHugePage - reinterpret_cast<std::uintptr_t>(begin) % kHugePage) % kHugePage : 0;
  if (before > 0) munmap(begin, before);
  if (room > before) munmap(begin + before + size, room - before);
  // Advice: a system that grants no huge pages gives the usual ones.
  if (is_huge) madvise(begin + before, size, MADV_HUGEPAGE);
  return begin + before;
}
#endif

}  // namespace

AlignedBuffer::AlignedBuffer(AlignedBuffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), capacity_(std::exchange(other.capacity_, 0)) {}

AlignedBuffer& AlignedBuffer::operator=(AlignedBuffer&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(capacity_, other.capacity_);
  return *this;
}

void AlignedBuffer::reserve(Index bytes) {
  if (bytes <= capacity_) return;
  free();
  const auto size = static_cast<std::size_t>(bytes);
#if defined(__linux__)
  data_ = size >= kWorthMapping ? map(size) : ::operator new(size, std::align_val_t{kAlignment});
#else
  data_ = ::operator new(size, std::align_val_t{kAlignment});
#endif
  capacity_ = bytes;
}

void AlignedBuffer::free() {
  const auto size = static_cast<std::size_t>(std::exchange(capacity_, 0));
  void* data = std::exchange(data_, nullptr);
#if defined(__linux__)
  if (size >= kWorthMapping) {
    munmap(data, mapped_size(size));
    return;
  }
#endif
  (void)size;
  ::operator delete(data, std::align_val_t{kAlignment});
}

}  // namespace unrolled
