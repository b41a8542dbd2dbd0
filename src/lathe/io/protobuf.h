// Protocol Buffers' wire format: fields one after another, each a tag (number and wire type) and a
// value. Enough to write and read messages whose schema the caller knows; groups are refused.
// Source: protobuf.dev, "Encoding".
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lathe/base/result.h"

namespace lathe {

// A message under construction. Fields stand in the order of the calls.
class ProtoWriter {
 public:
  void integer(uint32_t field, int64_t value);  // int32, int64, enum, bool: varint
  void real(uint32_t field, float value);       // float: 32 bits
  void text(uint32_t field, std::string_view bytes);
  void message(uint32_t field, const ProtoWriter& inner) { text(field, inner.bytes()); }

  const std::string& bytes() const { return bytes_; }

 private:
  void varint(uint64_t value);

  std::string bytes_;
};

// One field of a message, its value as the wire type says.
struct ProtoField {
  uint32_t number = 0;
  enum class Kind : uint8_t { kVarint, kFixed64, kBytes, kFixed32 } kind = Kind::kVarint;
  uint64_t number_value = 0;      // kVarint, kFixed64, kFixed32
  std::span<const uint8_t> data;  // kBytes: a view into the message

  // The value as a schema type; an error where the wire type is another one.
  Result<int64_t> integer() const;
  Result<float> real() const;
  Result<std::string_view> text() const;
  Result<std::span<const uint8_t>> message() const;
  // Appends an int64 field that is repeated, or all of a packed one.
  Status integers(std::vector<int64_t>& out) const;
};

// Walks the fields of a message of a hostile file.
class ProtoReader {
 public:
  explicit ProtoReader(std::span<const uint8_t> message) : rest_(message) {}
  // The next field; nullopt at the end.
  Result<std::optional<ProtoField>> next();

 private:
  Result<uint64_t> varint();

  std::span<const uint8_t> rest_;
};

}  // namespace lathe
