// SPDX-License-Identifier: MIT
// Preloaded by test_failed_allocations.py: lets one allocation of C++ fail, counted from fail_after(). The
// module's memory is that of operator new, and of mmap where it is large.
#include <dlfcn.h>
#include <sys/mman.h>

#include <atomic>
#include <cstdlib>
#include <new>

namespace {

std::atomic<long> left{-1};  // allocations until the one that fails; below 0: none
std::atomic<bool> has_failed{false};
std::atomic<bool> is_paused{false};

bool fails() {
  if (is_paused.load() || left.load() < 0 || left.fetch_sub(1) != 0) return false;
  has_failed = true;
  return true;
}

}  // namespace

extern "C" {
void fail_after(long count) {
  has_failed = false;
  left = count;
}
void pause_failing(int paused) { is_paused = paused != 0; }
int stop_failing() {
  left = -1;
  return has_failed ? 1 : 0;
}
void* mmap(void* at, size_t size, int protection, int flags, int file, off_t offset) {
  using Function = void* (*)(void*, size_t, int, int, int, off_t);
  static const auto real = reinterpret_cast<Function>(dlsym(RTLD_NEXT, "mmap"));
  if (file == -1 && size >= 262144 && (flags & MAP_STACK) == 0 && fails()) return MAP_FAILED;
  return real(at, size, protection, flags, file, offset);
}
}

void* operator new(std::size_t size) {
  void* memory = fails() ? nullptr : std::malloc(size);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
void* operator new(std::size_t size, std::align_val_t alignment) {
  const auto unit = static_cast<std::size_t>(alignment);
  void* memory = fails() ? nullptr : std::aligned_alloc(unit, (size + unit - 1) / unit * unit);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }
