#include "lathe/io/safetensors.h"

#include <algorithm>
#include <cstring>

#include "lathe/base/mapped_file.h"
#include "lathe/io/safetensors_header.h"

namespace lathe {
namespace {

constexpr uint64_t kHeaderLimit = 100'000'000;  // the reference's own
constexpr size_t kLengthBytes = 8;

std::string shape_text(const std::vector<int64_t>& shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

Result<DType> known_dtype(const SafetensorsEntry& entry) {
  if (const auto dtype = dtype_from_name(entry.dtype)) return *dtype;
  return unsupported("tensor '{}' has the dtype '{}', which Lathe does not read", entry.name,
                     entry.dtype)
      .with_hint("known: F32, F16, BF16, F64, I64, I32, I16, I8, U8, BOOL");
}

// The tensors must cover the data section without gap or overlap: offsets past the end, lying
// shapes and hidden bytes are all refused here.
Status check_layout(const std::vector<SafetensorsEntry>& entries, int64_t data_bytes) {
  std::vector<const SafetensorsEntry*> order;
  for (const SafetensorsEntry& entry : entries) order.push_back(&entry);
  std::sort(order.begin(), order.end(), [](const auto* a, const auto* b) {
    return std::pair(a->begin, a->end) < std::pair(b->begin, b->end);
  });
  int64_t at = 0;
  for (const SafetensorsEntry* entry : order) {
    if (entry->end < entry->begin) {
      return bad_input("tensor '{}' ends before it begins ({} to {})", entry->name, entry->begin,
                       entry->end);
    }
    if (entry->begin != at) {
      return bad_input("tensor '{}' begins at byte {} of the data, but the one before ends at {}",
                       entry->name, entry->begin, at)
          .with_hint(entry->begin < at ? "overlapping tensors: the file is damaged or hostile"
                                       : "a gap between tensors: the file is damaged or hostile");
    }
    if (entry->end > data_bytes) {
      return bad_input("tensor '{}' ends at byte {} of the data, but the file has only {}",
                       entry->name, entry->end, data_bytes)
          .with_hint("truncated? download or copy the file again");
    }
    LATHE_TRY(const DType dtype, known_dtype(*entry));
    const auto bytes = checked_bytes(dtype, entry->shape);
    if (!bytes || *bytes != entry->end - entry->begin) {
      return bad_input("tensor '{}' of {} {} does not fit its {} bytes", entry->name, entry->dtype,
                       shape_text(entry->shape), entry->end - entry->begin);
    }
    at = entry->end;
  }
  if (at != data_bytes) {
    return bad_input("{} bytes of data follow the last tensor", data_bytes - at)
        .with_hint("the file is damaged, or something was appended to it");
  }
  return {};
}

// A view into the file; a copy where the file would leave elements unaligned in memory.
Bytes aligned_bytes(const Bytes& data, const SafetensorsEntry& entry, DType dtype) {
  const Bytes view =
      data.slice(static_cast<size_t>(entry.begin), static_cast<size_t>(entry.end - entry.begin));
  const auto alignment = static_cast<uintptr_t>(size_of(dtype));
  if (reinterpret_cast<uintptr_t>(view.data()) % alignment == 0) return view;
  return Bytes::copy_of(view.span());
}

}  // namespace

std::optional<int64_t> checked_bytes(DType dtype, const std::vector<int64_t>& shape) {
  int64_t bytes = size_of(dtype);
  for (const int64_t dim : shape) {
    if (dim < 0 || __builtin_mul_overflow(bytes, dim, &bytes)) return std::nullopt;
  }
  return bytes;
}

const StoredTensor* SafetensorsFile::find(std::string_view name) const {
  const auto it = tensors_.find(name);
  return it == tensors_.end() ? nullptr : &it->second;
}

Result<SafetensorsFile> SafetensorsFile::parse(Bytes bytes, std::string_view name) {
  if (bytes.size() < kLengthBytes) {
    return bad_input("{}: {} bytes are too few for a safetensors file", name, bytes.size());
  }
  uint64_t length = 0;
  std::memcpy(&length, bytes.data(), kLengthBytes);
  const size_t rest = bytes.size() - kLengthBytes;
  if (length > kHeaderLimit && length > rest) {
    return bad_input("{}: not a safetensors file (its first 8 bytes are no header length)", name);
  }
  if (length > kHeaderLimit) {
    return bad_input("{}: a header of {} bytes is above the limit of {}", name, length,
                     kHeaderLimit);
  }
  if (length > rest) {
    return bad_input("{}: the header says {} bytes, but only {} follow", name, length, rest)
        .with_hint("truncated? download or copy the file again");
  }
  const auto header_bytes = static_cast<size_t>(length);
  const std::string_view json(reinterpret_cast<const char*>(bytes.data()) + kLengthBytes,
                              header_bytes);
  if (json.empty() || json.front() != '{') {
    return bad_input("{}: not a safetensors file (the header does not begin with '{{')", name);
  }
  LATHE_TRY_IN(SafetensorsHeader header, parse_safetensors_header(json), name);
  const Bytes data = bytes.slice(kLengthBytes + header_bytes, rest - header_bytes);
  LATHE_OK_IN(check_layout(header.entries, static_cast<int64_t>(data.size())), name);

  SafetensorsFile file;
  file.metadata_ = std::move(header.metadata);
  file.file_bytes_ = static_cast<int64_t>(bytes.size());
  for (SafetensorsEntry& entry : header.entries) {
    const DType dtype = *dtype_from_name(entry.dtype);
    Bytes part = aligned_bytes(data, entry, dtype);
    file.tensors_.emplace(std::move(entry.name),
                          StoredTensor{dtype, std::move(entry.shape), std::move(part)});
  }
  return file;
}

Result<SafetensorsFile> SafetensorsFile::open(const std::string& path) {
  LATHE_TRY(const Bytes bytes, map_file(path));
  LATHE_TRY(SafetensorsFile file, parse(bytes, path));
  release_pages(bytes);  // what was read for copies of unaligned tensors is not needed twice
  return file;
}

}  // namespace lathe
