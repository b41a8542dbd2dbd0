#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>
#include <set>

#include "lathe/io/atomic_file.h"
#include "lathe/io/safetensors.h"

namespace lathe {

struct SafetensorsWriter::Impl {
  struct Place {
    int64_t offset, bytes;  // in the file
  };
  AtomicFile file;
  std::vector<Place> places;  // in declared order
  size_t next = 0;
};

SafetensorsWriter::SafetensorsWriter(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
SafetensorsWriter::SafetensorsWriter(SafetensorsWriter&&) noexcept = default;
SafetensorsWriter& SafetensorsWriter::operator=(SafetensorsWriter&&) noexcept = default;
SafetensorsWriter::~SafetensorsWriter() = default;

Result<SafetensorsWriter> SafetensorsWriter::create(const std::string& path,
                                                    std::vector<Declared> tensors,
                                                    std::map<std::string, std::string> metadata) {
  std::vector<size_t> order(tensors.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return size_of(tensors[a].dtype) > size_of(tensors[b].dtype);
  });

  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  std::set<std::string_view> names;
  std::vector<Impl::Place> places(tensors.size());
  int64_t at = 0;
  for (const size_t i : order) {
    const Declared& tensor = tensors[i];
    if (tensor.name == "__metadata__" || !names.insert(tensor.name).second) {
      return bad_input("{}: cannot hold two tensors named '{}'", path, tensor.name);
    }
    int64_t bytes = size_of(tensor.dtype);
    for (const int64_t dim : tensor.shape) {
      if (dim < 0 || __builtin_mul_overflow(bytes, dim, &bytes)) {
        return bad_input("{}: the shape of tensor '{}' is too large", path, tensor.name);
      }
    }
    int64_t end = 0;
    if (__builtin_add_overflow(at, bytes, &end)) {
      return bad_input("{}: the tensors together are too large", path);
    }
    header[tensor.name] = {
        {"dtype", name_of(tensor.dtype)}, {"shape", tensor.shape}, {"data_offsets", {at, end}}};
    places[i] = {at, bytes};
    at = end;
  }
  // Spaces bring the data to a multiple of 8 bytes (the format allows them at the end).
  std::string text;
  try {
    text = header.dump();
  } catch (const nlohmann::ordered_json::type_error&) {
    return bad_input("{}: a tensor name or a metadata text is not valid UTF-8", path);
  }
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const uint64_t length = text.size();
  const int64_t data_start = static_cast<int64_t>(length) + 8;
  int64_t total = 0;
  if (__builtin_add_overflow(at, data_start, &total)) {
    return bad_input("{}: the tensors together are too large", path);
  }
  for (Impl::Place& place : places) place.offset += data_start;

  LATHE_TRY(AtomicFile file, AtomicFile::create(path, total));
  LATHE_OK(file.write({reinterpret_cast<const uint8_t*>(&length), sizeof length}));
  LATHE_OK(file.write(text));
  return SafetensorsWriter(
      std::make_unique<Impl>(Impl{std::move(file), std::move(places), size_t{0}}));
}

Status SafetensorsWriter::append(std::span<const uint8_t> bytes) {
  LATHE_CHECK(impl_->next < impl_->places.size());
  const Impl::Place& place = impl_->places[impl_->next++];
  LATHE_CHECK(static_cast<int64_t>(bytes.size()) == place.bytes);
  return impl_->file.write_at(place.offset, bytes);
}

Status SafetensorsWriter::finish() {
  LATHE_CHECK(impl_->next == impl_->places.size());
  return impl_->file.commit();
}

}  // namespace lathe
