// SPDX-License-Identifier: MIT
#include "base/mapped_file.h"

#include <system_error>

#if defined(_WIN32)
#define NOMINMAX
#define WIN32_LEAN_AND_MEAN
#include <windows.h>
#else
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#endif

namespace unrolled {

#if defined(_WIN32)

namespace {

[[noreturn]] void fail_now(const std::filesystem::path& path) {
  throw std::system_error(static_cast<int>(GetLastError()), std::system_category(), path.string());
}

struct Handle {
  HANDLE value;
  ~Handle() {
    if (value != INVALID_HANDLE_VALUE && value != nullptr) CloseHandle(value);
  }
};

}  // namespace

MappedFile::MappedFile(const std::filesystem::path& path) {
  const Handle file{CreateFileW(path.c_str(), GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_DELETE, nullptr,
                                OPEN_EXISTING, FILE_ATTRIBUTE_NORMAL, nullptr)};
  LARGE_INTEGER size;
  if (file.value == INVALID_HANDLE_VALUE || !GetFileSizeEx(file.value, &size)) fail_now(path);
  if (size.QuadPart == 0) return;
  const Handle mapping{CreateFileMappingW(file.value, nullptr, PAGE_READONLY, 0, 0, nullptr)};
  if (mapping.value == nullptr) fail_now(path);
  const void* memory = MapViewOfFile(mapping.value, FILE_MAP_READ, 0, 0, 0);
  if (memory == nullptr) fail_now(path);
  bytes_ = {static_cast<const std::byte*>(memory), static_cast<std::size_t>(size.QuadPart)};
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) UnmapViewOfFile(bytes_.data());
}

#else

namespace {

[[noreturn]] void fail_with(int error, const std::filesystem::path& path) {
  throw std::system_error(error, std::generic_category(), path.string());
}

struct Descriptor {
  int value;
  ~Descriptor() {
    if (value >= 0) close(value);
  }
};

}  // namespace

MappedFile::MappedFile(const std::filesystem::path& path) {
  const Descriptor file{open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  struct stat status;
  if (file.value < 0 || fstat(file.value, &status) != 0) fail_with(errno, path);
  if (S_ISDIR(status.st_mode)) fail_with(EISDIR, path);
  if (status.st_size <= 0) return;
  const auto size = static_cast<std::size_t>(status.st_size);
  void* memory = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.value, 0);
  if (memory == MAP_FAILED) fail_with(errno, path);
  bytes_ = {static_cast<const std::byte*>(memory), size};
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

#endif

}  // namespace unrolled
