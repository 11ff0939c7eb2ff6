// SPDX-License-Identifier: MIT
// A file mapped into memory for reading. As with every mapping, a file that another process cuts short while
// it is mapped ends this process when the missing part is read: files are to be replaced, not overwritten.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>

namespace unrolled {

class MappedFile {
 public:
  // Throws std::system_error where the file cannot be opened or mapped.
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const { return bytes_; }

 private:
  std::span<const std::byte> bytes_;
};

}  // namespace unrolled
