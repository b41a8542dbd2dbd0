// Files that appear whole or not at all: written under a temporary name beside the target, then
// renamed. A process that is killed leaves at most the temporary file (`<path>.tmp-<pid>-<n>`).
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "lathe/base/result.h"

namespace lathe {

class AtomicFile {
 public:
  // Refuses when the folder is missing or not writable, or when `path` is something else than a
  // file. `expected_bytes` > 0: refuses (kFailed) when the disk has less free, and reserves the
  // room where the file system can.
  static Result<AtomicFile> create(const std::string& path, int64_t expected_bytes = 0);
  AtomicFile(AtomicFile&&) noexcept;
  AtomicFile& operator=(AtomicFile&&) noexcept;
  ~AtomicFile();  // removes the temporary file unless committed

  // Appends. After any failure, a full disk among them, the file can only be destroyed. Writes of a
  // megabyte and more go past the page cache, beside what the caller does next (direct_writer.h);
  // that they failed is told by a later call, by commit() at the latest.
  Status write(std::span<const uint8_t> bytes);
  Status write(std::string_view text);
  // Overwrites bytes written earlier, or writes ahead of the end (what lies between reads as 0).
  Status write_at(int64_t offset, std::span<const uint8_t> bytes);
  // What has been written survives this process, if not a power cut.
  Status flush();
  // Flushes to disk and renames over `path`.
  Status commit();

 private:
  struct Impl;
  explicit AtomicFile(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// The whole text in one go.
Status write_atomically(const std::string& path, std::string_view text);

// Bytes that an ordinary user may still write on the disk that holds `directory`.
Result<int64_t> free_disk_bytes(const std::string& directory);

}  // namespace lathe
