// GGUF v2/v3 files, memory-mapped and fully checked when opened.
// Source: ggml's docs/gguf.md. Refused: version 1, big-endian files, arrays of arrays (no published
// model has them), keys or tensor names that come twice, tensors that overlap. Dimensions are
// stored fastest first; here they are given as [rows, cols] order (slowest first), as everywhere in
// Lathe.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "lathe/base/bytes.h"
#include "lathe/base/result.h"

namespace lathe {

struct GgufArray;
using GgufValue =
    std::variant<uint64_t, int64_t, double, bool, std::string, std::shared_ptr<const GgufArray>>;
struct GgufArray {
  // One of: integers, numbers, strings (by element type of the file); booleans are integers.
  std::vector<int64_t> integers;
  std::vector<double> numbers;
  std::vector<std::string> strings;
};

struct GgufTensor {
  std::string name;
  uint32_t type;               // ggml type number
  std::vector<int64_t> shape;  // slowest first: [rows, cols] for a matrix
  Bytes bytes;  // a view into the file, aligned as general.alignment says (8 or more)
};

class GgufFile {
 public:
  static Result<GgufFile> open(const std::string& path);
  // The same checks over bytes in memory (fuzzing, tests). `name` is used in errors.
  static Result<GgufFile> parse(Bytes bytes, std::string_view name);

  const std::string& name() const { return name_; }
  const std::map<std::string, GgufValue>& metadata() const { return metadata_; }
  bool has(std::string_view key) const;
  // Absent or of another type: nullopt. integer() takes any integer type that fits; number() takes
  // integers too.
  std::optional<int64_t> integer(std::string_view key) const;
  std::optional<double> number(std::string_view key) const;
  std::optional<bool> boolean(std::string_view key) const;
  std::optional<std::string> string(std::string_view key) const;
  const GgufArray* array(std::string_view key) const;
  // A value as it stands in the file, its type number in front; empty when absent. For copying
  // metadata unchanged (GgufMetadata::set_raw).
  Bytes raw(std::string_view key) const;

  const std::vector<GgufTensor>& tensors() const { return tensors_; }
  const GgufTensor* find(std::string_view tensor) const;
  // The bytes of the file before the tensor data: header, metadata, tensor list.
  Bytes header_bytes() const { return header_; }

 private:
  std::string name_;
  std::map<std::string, GgufValue> metadata_;
  std::map<std::string, Bytes, std::less<>> raw_;
  std::vector<GgufTensor> tensors_;
  std::map<std::string, size_t, std::less<>> index_;  // name → position in tensors_
  Bytes header_;
};

}  // namespace lathe
