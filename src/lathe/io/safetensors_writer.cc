#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>
#include <set>

#include "lathe/io/atomic_file.h"
#include "lathe/io/safetensors.h"

namespace lathe {

namespace {

// As the header has it; data_offsets are counted from the end of the header.
std::string header_text(const std::vector<SafetensorsWriter::Declared>& tensors,
                        const std::vector<size_t>& order, const std::vector<int64_t>& begins,
                        const std::vector<int64_t>& sizes,
                        const std::map<std::string, std::string>& metadata) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  for (const size_t i : order) {
    const SafetensorsWriter::Declared& tensor = tensors[i];
    header[tensor.name] = {{"dtype", name_of(tensor.dtype)},
                           {"shape", tensor.varies ? std::vector<int64_t>{sizes[i]} : tensor.shape},
                           {"data_offsets", {begins[i], begins[i] + sizes[i]}}};
  }
  return header.dump();
}

}  // namespace

struct SafetensorsWriter::Impl {
  AtomicFile file;
  std::vector<Declared> tensors;
  std::map<std::string, std::string> metadata;
  std::vector<size_t> order;           // in the file
  std::vector<int64_t> begins, sizes;  // of the tensors, begins counted from data_start
  int64_t data_start = 0, end = 0;     // end: of the data so far that varies
  size_t next = 0;

  // Spaces (which the format allows there) fill what is left of the room for the header.
  Status write_header() {
    std::string text = header_text(tensors, order, begins, sizes, metadata);
    const auto length = static_cast<uint64_t>(data_start - 8);
    LATHE_CHECK(text.size() <= length);
    text.resize(length, ' ');
    LATHE_OK(file.write_at(0, {reinterpret_cast<const uint8_t*>(&length), sizeof length}));
    return file.write_at(8, {reinterpret_cast<const uint8_t*>(text.data()), text.size()});
  }
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
    if (tensors[a].varies != tensors[b].varies) return tensors[b].varies;
    return size_of(tensors[a].dtype) > size_of(tensors[b].dtype);
  });

  std::set<std::string_view> names;
  std::vector<int64_t> begins(tensors.size()), sizes(tensors.size());
  int64_t at = 0, fixed = 0;
  for (const size_t i : order) {
    const Declared& tensor = tensors[i];
    LATHE_CHECK(!tensor.varies || (tensor.shape.size() == 1 && size_of(tensor.dtype) == 1));
    if (tensor.name == "__metadata__" || !names.insert(tensor.name).second) {
      return bad_input("{}: cannot hold two tensors named '{}'", path, tensor.name);
    }
    int64_t bytes = size_of(tensor.dtype);
    for (const int64_t dim : tensor.shape) {
      if (dim < 0 || __builtin_mul_overflow(bytes, dim, &bytes)) {
        return bad_input("{}: the shape of tensor '{}' is too large", path, tensor.name);
      }
    }
    begins[i] = at;
    sizes[i] = bytes;
    if (__builtin_add_overflow(at, bytes, &at)) {
      return bad_input("{}: the tensors together are too large", path);
    }
    if (!tensor.varies) fixed = at;
  }
  // No number in the header grows when tensors turn out smaller. The data begins at a multiple of 8
  // bytes.
  size_t length = 0;
  try {
    length = (header_text(tensors, order, begins, sizes, metadata).size() + 7) / 8 * 8;
  } catch (const nlohmann::ordered_json::type_error&) {
    return bad_input("{}: a tensor name or a metadata text is not valid UTF-8", path);
  }
  const int64_t data_start = static_cast<int64_t>(length) + 8;
  int64_t total = 0;
  if (__builtin_add_overflow(at, data_start, &total)) {
    return bad_input("{}: the tensors together are too large", path);
  }
  LATHE_TRY(AtomicFile file, AtomicFile::create(path, total));
  auto impl = std::make_unique<Impl>(Impl{std::move(file), std::move(tensors), std::move(metadata),
                                          std::move(order), std::move(begins), std::move(sizes),
                                          data_start, fixed, size_t{0}});
  // Takes the room; those that vary change it once more.
  LATHE_OK(impl->write_header());
  return SafetensorsWriter(std::move(impl));
}

Status SafetensorsWriter::append(std::span<const uint8_t> bytes) {
  Impl& writer = *impl_;
  LATHE_CHECK(writer.next < writer.tensors.size());
  const size_t i = writer.next++;
  const auto size = static_cast<int64_t>(bytes.size());
  if (writer.tensors[i].varies) {
    LATHE_CHECK(size <= writer.sizes[i]);
    writer.begins[i] = writer.end;
    writer.sizes[i] = size;
    writer.end += size;
  } else {
    LATHE_CHECK(size == writer.sizes[i]);
  }
  return writer.file.write_at(writer.data_start + writer.begins[i], bytes);
}

Status SafetensorsWriter::flush() { return impl_->file.flush(); }

Status SafetensorsWriter::finish() {
  LATHE_CHECK(impl_->next == impl_->tensors.size());
  const bool varies = std::any_of(impl_->tensors.begin(), impl_->tensors.end(),
                                  [](const Declared& tensor) { return tensor.varies; });
  if (varies) LATHE_OK(impl_->write_header());
  return impl_->file.commit();
}

}  // namespace lathe
