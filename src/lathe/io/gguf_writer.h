// GGUF v3 files, written in one pass with bounded memory.
#pragma once

#include <concepts>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lathe/base/bytes.h"
#include "lathe/base/result.h"
#include "lathe/io/gguf.h"

namespace lathe {

// Key-values in file order. The type in the file follows from the C++ type: uint32_t → u32,
// float → f32, std::string_view → string … Setting a key again replaces its value.
class GgufMetadata {
 public:
  template <typename T>
  requires std::is_arithmetic_v<T>
  void set(std::string_view key, T value) {
    store(key, value_type<T>(), false, 0, {reinterpret_cast<const uint8_t*>(&value), sizeof(T)});
  }
  void set(std::string_view key, std::string_view text);
  void set(std::string_view key, const char* text) { set(key, std::string_view(text)); }

  template <typename T>
  requires std::is_arithmetic_v<T>
  void set_array(std::string_view key, std::span<const T> values) {
    static_assert(!std::same_as<T, bool> || sizeof(bool) == 1);
    store(key, value_type<T>(), true, values.size(),
          {reinterpret_cast<const uint8_t*>(values.data()), values.size_bytes()});
  }
  void set_array(std::string_view key, std::span<const std::string> texts);

  // A value with its type number in front, as GgufFile::raw gives it.
  void set_raw(std::string_view key, std::span<const uint8_t> value);

  struct Entry {
    std::string key, value;  // value: encoded, type number in front
  };
  const std::vector<Entry>& entries() const { return entries_; }

 private:
  template <typename T>
  static constexpr uint32_t value_type() {
    if constexpr (std::same_as<T, bool>)
      return 7;
    else if constexpr (std::same_as<T, float>)
      return 6;
    else if constexpr (std::same_as<T, double>)
      return 12;
    else if constexpr (sizeof(T) == 8)
      return std::is_signed_v<T> ? 11 : 10;
    else if constexpr (sizeof(T) == 4)
      return std::is_signed_v<T> ? 5 : 4;
    else if constexpr (sizeof(T) == 2)
      return std::is_signed_v<T> ? 3 : 2;
    else
      return std::is_signed_v<T> ? 1 : 0;
  }
  void store(std::string_view key, uint32_t type, bool is_array, uint64_t count,
             std::span<const uint8_t> payload);

  std::vector<Entry> entries_;
};

class GgufWriter {
 public:
  struct Declared {
    std::string name;
    uint32_t type;               // ggml type number
    std::vector<int64_t> shape;  // slowest first: [rows, cols]
  };
  // Declare all tensors, then append their bytes in that order. Alignment is 32, or what the
  // metadata's general.alignment (u32) says. Refuses unknown types, shapes that do not fit their
  // blocks, names that come twice, and (kFailed) what the disk cannot hold.
  static Result<GgufWriter> create(const std::string& path, const GgufMetadata& metadata,
                                   const std::vector<Declared>& tensors);
  GgufWriter(GgufWriter&&) noexcept;
  GgufWriter& operator=(GgufWriter&&) noexcept;
  ~GgufWriter();  // removes the temporary file unless finished

  // The bytes of the next declared tensor, whole: a wrong size is our own bug.
  Status append(std::span<const uint8_t> bytes);
  // All declared tensors must have been appended.
  Status finish();

 private:
  struct Impl;
  explicit GgufWriter(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// A GGUF file without tensors that carries the tokenizer of `source`: its keys under "tokenizer."
// and general.architecture, unchanged. What a compressed model keeps beside its weights when it
// came from a GGUF file. Refuses a source without tokenizer.
Status write_tokenizer_gguf(const GgufFile& source, const std::string& path);

}  // namespace lathe
