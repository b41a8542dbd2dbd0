// Safetensors files and sharded checkpoints, memory-mapped and fully checked when opened.
// Source: the safetensors README ("Format"). Offsets must lie inside the file, must not overlap and
// must fit shape × dtype exactly; a header above 100 MB is refused, as in the reference.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lathe/base/bytes.h"
#include "lathe/base/result.h"
#include "lathe/tensor/dtype.h"

namespace lathe {

// `bytes` is a view into the mapped file, aligned to the element size. (Files whose layout leaves
// elements unaligned, which the format allows, are read into memory instead.)
struct StoredTensor {
  DType dtype;
  std::vector<int64_t> shape;
  Bytes bytes;
};

// Bytes of shape × dtype; nullopt when that is no 63-bit number, or a dimension is negative.
std::optional<int64_t> checked_bytes(DType dtype, const std::vector<int64_t>& shape);

class SafetensorsFile {
 public:
  static Result<SafetensorsFile> open(const std::string& path);
  static Result<SafetensorsFile> parse(Bytes bytes, std::string_view name);
  // A directory: model.safetensors, or all shards of model.safetensors.index.json (each tensor must
  // be where the index says). Pickle checkpoints are never loaded; the error says how to convert.
  static Result<SafetensorsFile> open_model(const std::string& directory);

  const std::map<std::string, StoredTensor, std::less<>>& tensors() const { return tensors_; }
  const StoredTensor* find(std::string_view name) const;
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  int64_t file_bytes() const { return file_bytes_; }

 private:
  std::map<std::string, StoredTensor, std::less<>> tensors_;
  std::map<std::string, std::string> metadata_;
  int64_t file_bytes_ = 0;
};

// Writes a safetensors file in one pass with bounded memory: declare all tensors, then append their
// bytes in that order. Written under a temporary name and renamed by finish(). In the file, wider
// element types come first, as in the reference, so that every tensor is aligned when mapped.
class SafetensorsWriter {
 public:
  struct Declared {
    std::string name;
    DType dtype;
    std::vector<int64_t> shape;
    // The shape {n} of one-byte elements is the most: append() says how many there are.
    bool varies = false;
  };
  // Refuses names that come twice, and (kFailed) what the disk cannot hold.
  static Result<SafetensorsWriter> create(const std::string& path, std::vector<Declared> tensors,
                                          std::map<std::string, std::string> metadata);
  SafetensorsWriter(SafetensorsWriter&&) noexcept;
  SafetensorsWriter& operator=(SafetensorsWriter&&) noexcept;
  ~SafetensorsWriter();  // removes the temporary file unless finished

  // The bytes of the next declared tensor, whole: a wrong size is our own bug. Tensors that vary
  // stand at the end of the file, and the header is written last.
  Status append(std::span<const uint8_t> bytes);
  // What has been appended survives this process.
  Status flush();
  // All declared tensors must have been appended.
  Status finish();

 private:
  struct Impl;
  explicit SafetensorsWriter(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace lathe
