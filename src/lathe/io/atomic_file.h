// Files that appear whole or not at all: written under a temporary name beside the target, then
// renamed.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "lathe/base/result.h"

namespace lathe {

class AtomicFile {
 public:
  // Refuses when the folder is missing or not writable. `expected_bytes` > 0: refuses (kNoRoom)
  // when the disk has less free.
  static Result<AtomicFile> create(const std::string& path, int64_t expected_bytes = 0);
  AtomicFile(AtomicFile&&) noexcept;
  AtomicFile& operator=(AtomicFile&&) noexcept;
  ~AtomicFile();  // removes the temporary file unless committed

  Status write(std::span<const uint8_t> bytes);
  Status write(std::string_view text);
  // Overwrites bytes written earlier.
  Status write_at(int64_t offset, std::span<const uint8_t> bytes);
  // Flushes to disk and renames over `path`.
  Status commit();

 private:
  struct Impl;
  explicit AtomicFile(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// The whole text in one go.
Status write_atomically(const std::string& path, std::string_view text);

}  // namespace lathe
