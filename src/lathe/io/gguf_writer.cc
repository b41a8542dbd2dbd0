#include "lathe/io/gguf_writer.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <set>

#include "lathe/io/atomic_file.h"
#include "lathe/io/ggml_block_sizes.h"
#include "lathe/io/gguf_wire.h"

namespace lathe {
namespace {

template <typename T>
void put(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof(T));
}

void put_text(std::string& out, std::string_view text) {
  put(out, static_cast<uint64_t>(text.size()));
  out += text;
}

void put_bytes(std::string& out, std::span<const uint8_t> bytes) {
  out.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

Result<int64_t> stored_bytes(const GgufWriter::Declared& tensor) {
  const std::optional<GgmlBlock> block = ggml_block(tensor.type);
  if (!block) return unsupported("tensor '{}': unknown ggml type {}", tensor.name, tensor.type);
  if (tensor.shape.empty() || tensor.shape.size() > gguf::kMaxDims) {
    return unsupported("tensor '{}' has {} dimensions; GGUF holds 1 to {}", tensor.name,
                       tensor.shape.size(), gguf::kMaxDims);
  }
  int64_t elements = 1;
  for (const int64_t dim : tensor.shape) {
    if (dim <= 0 || __builtin_mul_overflow(elements, dim, &elements)) {
      return bad_input("tensor '{}': a dimension is not positive, or they overflow", tensor.name);
    }
  }
  if (tensor.shape.back() % block->elements != 0) {
    return unsupported("tensor '{}': rows of {} elements are no multiple of {}'s blocks of {}",
                       tensor.name, tensor.shape.back(), block->name, block->elements);
  }
  int64_t bytes = 0;
  if (__builtin_mul_overflow(elements / block->elements, block->bytes, &bytes)) {
    return bad_input("tensor '{}' is too large", tensor.name);
  }
  return bytes;
}

}  // namespace

void GgufMetadata::set_raw(std::string_view key, std::span<const uint8_t> value) {
  LATHE_CHECK(value.size() >= 5 && key.size() <= gguf::kMaxKeyBytes);
  std::string text(reinterpret_cast<const char*>(value.data()), value.size());
  for (Entry& entry : entries_) {
    if (entry.key == key) {
      entry.value = std::move(text);
      return;
    }
  }
  entries_.push_back({std::string(key), std::move(text)});
}

void GgufMetadata::store(std::string_view key, uint32_t type, bool is_array, uint64_t count,
                         std::span<const uint8_t> payload) {
  std::string value;
  if (is_array) {
    put(value, uint32_t{gguf::kArray});
    put(value, type);
    put(value, count);
  } else {
    put(value, type);
  }
  put_bytes(value, payload);
  set_raw(key, {reinterpret_cast<const uint8_t*>(value.data()), value.size()});
}

void GgufMetadata::set(std::string_view key, std::string_view text) {
  std::string payload;
  put_text(payload, text);
  store(key, gguf::kString, false, 0,
        {reinterpret_cast<const uint8_t*>(payload.data()), payload.size()});
}

void GgufMetadata::set_array(std::string_view key, std::span<const std::string> texts) {
  std::string payload;
  for (const std::string& text : texts) put_text(payload, text);
  store(key, gguf::kString, true, texts.size(),
        {reinterpret_cast<const uint8_t*>(payload.data()), payload.size()});
}

struct GgufWriter::Impl {
  struct Place {
    int64_t offset, bytes;  // in the file
  };
  AtomicFile file;
  std::vector<Place> places;
  int64_t total;
  size_t next = 0;
};

GgufWriter::GgufWriter(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
GgufWriter::GgufWriter(GgufWriter&&) noexcept = default;
GgufWriter& GgufWriter::operator=(GgufWriter&&) noexcept = default;
GgufWriter::~GgufWriter() = default;

Result<GgufWriter> GgufWriter::create(const std::string& path, const GgufMetadata& metadata,
                                      const std::vector<Declared>& tensors) {
  int64_t alignment = gguf::kDefaultAlignment;
  std::string header;
  put(header, gguf::kMagic);
  put(header, uint32_t{3});
  put(header, static_cast<uint64_t>(tensors.size()));
  put(header, static_cast<uint64_t>(metadata.entries().size()));
  for (const GgufMetadata::Entry& entry : metadata.entries()) {
    put_text(header, entry.key);
    header += entry.value;
    if (entry.key == "general.alignment") {
      uint32_t stated = 0;
      if (entry.value.size() == 8) std::memcpy(&stated, entry.value.data() + 4, 4);
      LATHE_CHECK(stated >= 8 && (stated & (stated - 1)) == 0);
      alignment = stated;
    }
  }
  const auto aligned = [alignment](int64_t at) {
    return (at + alignment - 1) / alignment * alignment;
  };
  constexpr int64_t kTooLarge = std::numeric_limits<int64_t>::max() / 4;
  std::set<std::string_view> names;
  std::vector<Impl::Place> places;
  int64_t at = 0;
  for (const Declared& tensor : tensors) {
    if (!names.insert(tensor.name).second) {
      return bad_input("{}: cannot hold two tensors named '{}'", path, tensor.name);
    }
    LATHE_TRY_IN(const int64_t bytes, stored_bytes(tensor), path);
    if (bytes > kTooLarge - at) return bad_input("{}: the tensors together are too large", path);
    put_text(header, tensor.name);
    put(header, static_cast<uint32_t>(tensor.shape.size()));
    for (size_t i = tensor.shape.size(); i-- > 0;) {
      put(header, static_cast<uint64_t>(tensor.shape[i]));
    }
    put(header, tensor.type);
    put(header, static_cast<uint64_t>(at));
    places.push_back({at, bytes});
    at = aligned(at + bytes);
  }
  header.resize(static_cast<size_t>(aligned(static_cast<int64_t>(header.size()))), '\0');
  const auto data_start = static_cast<int64_t>(header.size());
  for (Impl::Place& place : places) place.offset += data_start;

  LATHE_TRY(AtomicFile file, AtomicFile::create(path, data_start + at));
  LATHE_OK(file.write(header));
  return GgufWriter(
      std::make_unique<Impl>(Impl{std::move(file), std::move(places), data_start + at, size_t{0}}));
}

Status GgufWriter::append(std::span<const uint8_t> bytes) {
  LATHE_CHECK(impl_->next < impl_->places.size());
  const Impl::Place& place = impl_->places[impl_->next++];
  LATHE_CHECK(static_cast<int64_t>(bytes.size()) == place.bytes);
  LATHE_OK(impl_->file.write_at(place.offset, bytes));
  // The last tensor is padded too, as readers that count in whole alignments expect.
  const int64_t end = place.offset + place.bytes;
  const int64_t until = impl_->next < impl_->places.size() ? end : impl_->total;
  const std::string padding(static_cast<size_t>(until - end), '\0');
  return impl_->file.write(padding);
}

Status GgufWriter::finish() {
  LATHE_CHECK(impl_->next == impl_->places.size());
  return impl_->file.commit();
}

Status write_tokenizer_gguf(const GgufFile& source, const std::string& path) {
  constexpr std::string_view kArchitecture = "general.architecture";
  constexpr std::string_view kPrefix = "tokenizer.";
  GgufMetadata metadata;
  if (source.has(kArchitecture)) metadata.set_raw(kArchitecture, source.raw(kArchitecture).span());
  size_t copied = 0;
  for (const auto& [key, value] : source.metadata()) {
    if (!key.starts_with(kPrefix)) continue;
    metadata.set_raw(key, source.raw(key).span());
    ++copied;
  }
  if (copied == 0) return not_found("{}: has no tokenizer in its metadata", source.name());
  LATHE_TRY(GgufWriter writer, GgufWriter::create(path, metadata, {}));
  return writer.finish();
}

}  // namespace lathe
