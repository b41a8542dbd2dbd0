#include "lathe/io/protobuf.h"

#include <bit>
#include <cstring>

namespace lathe {
namespace {

constexpr uint32_t kVarintType = 0, kFixed64Type = 1, kBytesType = 2, kFixed32Type = 5;
constexpr uint32_t kMostFieldNumber = (1u << 29) - 1;

}  // namespace

void ProtoWriter::varint(uint64_t value) {
  while (value >= 0x80) {
    bytes_.push_back(static_cast<char>(value | 0x80));
    value >>= 7;
  }
  bytes_.push_back(static_cast<char>(value));
}

void ProtoWriter::integer(uint32_t field, int64_t value) {
  varint(uint64_t{field} << 3 | kVarintType);
  varint(static_cast<uint64_t>(value));
}

void ProtoWriter::real(uint32_t field, float value) {
  varint(uint64_t{field} << 3 | kFixed32Type);
  const auto bits = std::bit_cast<uint32_t>(value);
  for (int i = 0; i < 4; ++i) bytes_.push_back(static_cast<char>(bits >> (8 * i)));
}

void ProtoWriter::text(uint32_t field, std::string_view bytes) {
  varint(uint64_t{field} << 3 | kBytesType);
  varint(bytes.size());
  bytes_.append(bytes);
}

Result<int64_t> ProtoField::integer() const {
  if (kind == Kind::kVarint) return static_cast<int64_t>(number_value);
  return bad_input("field {} is no integer", number);
}

Result<float> ProtoField::real() const {
  if (kind == Kind::kFixed32) return std::bit_cast<float>(static_cast<uint32_t>(number_value));
  return bad_input("field {} is no 32-bit float", number);
}

Result<std::string_view> ProtoField::text() const {
  LATHE_TRY(const auto bytes, message());
  return std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

Result<std::span<const uint8_t>> ProtoField::message() const {
  if (kind == Kind::kBytes) return data;
  return bad_input("field {} is neither text nor message", number);
}

Status ProtoField::integers(std::vector<int64_t>& out) const {
  if (kind != Kind::kBytes) {
    LATHE_TRY(const int64_t value, integer());
    out.push_back(value);
    return {};
  }
  // A packed run is a message of bare varints: each byte without the high bit ends one.
  uint64_t value = 0;
  int shift = 0;
  for (const uint8_t byte : data) {
    if (shift > 63) return bad_input("field {} holds an integer of over 64 bits", number);
    value |= uint64_t{byte & 0x7fu} << shift;
    shift += 7;
    if (byte & 0x80) continue;
    out.push_back(static_cast<int64_t>(value));
    value = 0;
    shift = 0;
  }
  if (shift) return bad_input("field {} ends within an integer", number);
  return {};
}

Result<uint64_t> ProtoReader::varint() {
  uint64_t value = 0;
  for (int shift = 0; shift < 64; shift += 7) {
    if (rest_.empty()) return bad_input("the message ends within a number");
    const uint8_t byte = rest_.front();
    rest_ = rest_.subspan(1);
    value |= uint64_t{byte & 0x7fu} << shift;
    if (!(byte & 0x80)) return value;
  }
  return bad_input("a number of over 64 bits");
}

Result<std::optional<ProtoField>> ProtoReader::next() {
  if (rest_.empty()) return std::optional<ProtoField>();
  LATHE_TRY(const uint64_t tag, varint());
  ProtoField field;
  if (tag >> 3 == 0 || tag >> 3 > kMostFieldNumber) return bad_input("no field {}", tag >> 3);
  field.number = static_cast<uint32_t>(tag >> 3);
  const auto fixed = [&](size_t size) -> Status {
    if (rest_.size() < size) return bad_input("the message ends within field {}", field.number);
    std::memcpy(&field.number_value, rest_.data(), size);
    rest_ = rest_.subspan(size);
    return {};
  };
  switch (tag & 7) {
    case kVarintType: {
      field.kind = ProtoField::Kind::kVarint;
      LATHE_TRY(field.number_value, varint());
      break;
    }
    case kFixed64Type:
      field.kind = ProtoField::Kind::kFixed64;
      LATHE_OK(fixed(8));
      break;
    case kFixed32Type:
      field.kind = ProtoField::Kind::kFixed32;
      LATHE_OK(fixed(4));
      break;
    case kBytesType: {
      field.kind = ProtoField::Kind::kBytes;
      LATHE_TRY(const uint64_t size, varint());
      if (size > rest_.size()) {
        return bad_input("field {} says {} bytes, but only {} follow", field.number, size,
                         rest_.size())
            .with_hint("truncated? download or copy the file again");
      }
      field.data = rest_.first(static_cast<size_t>(size));
      rest_ = rest_.subspan(static_cast<size_t>(size));
      break;
    }
    default:
      return bad_input("field {} has wire type {}", field.number, tag & 7);
  }
  return std::optional<ProtoField>(field);
}

}  // namespace lathe
