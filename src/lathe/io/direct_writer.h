// Writes past the page cache (O_DIRECT), on a thread of its own, so that who fills a large file
// neither copies it into the kernel nor waits for the disk.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

namespace lathe {

class DirectWriter {
 public:
  // Offsets and sizes are multiples of this.
  static constexpr int64_t kBlock = 4096;

  // Into the file that `fd` has open for writing, which must stay open as long as this, and takes
  // over where the file system refuses a direct write. Null where it knows none at all.
  static std::unique_ptr<DirectWriter> open(int fd);
  DirectWriter(const DirectWriter&) = delete;
  DirectWriter& operator=(const DirectWriter&) = delete;
  ~DirectWriter();  // drops what has not been begun

  // Copies `bytes`; waits while several megabytes are on their way.
  void write(int64_t offset, std::span<const uint8_t> bytes);
  // Waits until no write into this range is on its way.
  void settle(int64_t offset, int64_t size);
  // Waits for all writes; the errno of the first that failed, or 0. What follows that is dropped.
  int finish();
  // The same without waiting.
  int error() const;

 private:
  struct Impl;
  explicit DirectWriter(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace lathe
