#include "lathe/io/gguf.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "lathe/base/mapped_file.h"
#include "lathe/io/ggml_block_sizes.h"
#include "lathe/io/gguf_wire.h"

namespace lathe {
namespace {

using namespace gguf;

// Reads forward through the bytes; every read is checked against what is left.
class Cursor {
 public:
  explicit Cursor(Bytes bytes) : bytes_(std::move(bytes)) {}

  size_t position() const { return at_; }
  uint64_t left() const { return bytes_.size() - at_; }
  Bytes since(size_t start) const { return bytes_.slice(start, at_ - start); }

  template <typename T>
  Result<T> read(std::string_view what) {
    if (left() < sizeof(T)) return ends_in(what);
    T value;
    std::memcpy(&value, bytes_.data() + at_, sizeof(T));
    at_ += sizeof(T);
    return value;
  }

  Result<std::string> text(std::string_view what, uint64_t limit) {
    LATHE_TRY(const uint64_t length, read<uint64_t>(what));
    if (length > left()) return ends_in(what);
    if (length > limit) {
      return bad_input("{} is {} bytes long; {} are allowed", what, length, limit);
    }
    std::string value(reinterpret_cast<const char*>(bytes_.data() + at_),
                      static_cast<size_t>(length));
    at_ += static_cast<size_t>(length);
    return value;
  }

  Error ends_in(std::string_view what) const {
    return bad_input("the file ends in {} (at byte {} of {})", what, at_, bytes_.size())
        .with_hint("truncated? download or copy the file again");
  }

 private:
  Bytes bytes_;
  size_t at_ = 0;
};

template <typename T, typename Out>
Result<Out> read_as(Cursor& in, std::string_view what) {
  LATHE_TRY(const T value, in.read<T>(what));
  return static_cast<Out>(value);
}

Result<int64_t> read_integer(Cursor& in, uint32_t type, std::string_view what) {
  switch (type) {
    case kU8:
      return read_as<uint8_t, int64_t>(in, what);
    case kI8:
      return read_as<int8_t, int64_t>(in, what);
    case kU16:
      return read_as<uint16_t, int64_t>(in, what);
    case kI16:
      return read_as<int16_t, int64_t>(in, what);
    case kU32:
      return read_as<uint32_t, int64_t>(in, what);
    case kI32:
      return read_as<int32_t, int64_t>(in, what);
    case kI64:
      return read_as<int64_t, int64_t>(in, what);
    case kU64: {
      LATHE_TRY(const uint64_t value, in.read<uint64_t>(what));
      if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
        return bad_input("{} holds a number above 2^63", what);
      }
      return static_cast<int64_t>(value);
    }
    case kBool: {
      LATHE_TRY(const uint8_t value, in.read<uint8_t>(what));
      if (value > 1) return bad_input("{} holds a boolean that is neither 0 nor 1", what);
      return int64_t{value};
    }
    default:
      LATHE_CHECK(false);
  }
  return int64_t{0};
}

Result<double> read_number(Cursor& in, uint32_t type, std::string_view what) {
  return type == kF32 ? read_as<float, double>(in, what) : in.read<double>(what);
}

Result<std::shared_ptr<const GgufArray>> read_array(Cursor& in, std::string_view what) {
  LATHE_TRY(const uint32_t type, in.read<uint32_t>(what));
  LATHE_TRY(const uint64_t count, in.read<uint64_t>(what));
  if (type == kArray)
    return unsupported("{} is an array of arrays, which Lathe does not read", what);
  const uint64_t element = type == kString ? 8 : value_bytes(type);  // at least
  if (element == 0) return bad_input("{} is an array of the unknown type {}", what, type);
  if (count > in.left() / element) return in.ends_in(what);
  const auto size = static_cast<size_t>(count);
  auto array = std::make_shared<GgufArray>();
  if (type == kString) {
    array->strings.reserve(size);
    for (size_t i = 0; i < size; ++i) {
      LATHE_TRY(std::string text, in.text(what, std::numeric_limits<uint64_t>::max()));
      array->strings.push_back(std::move(text));
    }
  } else if (type == kF32 || type == kF64) {
    array->numbers.reserve(size);
    for (size_t i = 0; i < size; ++i) {
      LATHE_TRY(const double number, read_number(in, type, what));
      array->numbers.push_back(number);
    }
  } else {
    array->integers.reserve(size);
    for (size_t i = 0; i < size; ++i) {
      LATHE_TRY(const int64_t integer, read_integer(in, type, what));
      array->integers.push_back(integer);
    }
  }
  return std::shared_ptr<const GgufArray>(std::move(array));
}

Result<GgufValue> read_value(Cursor& in, uint32_t type, std::string_view what) {
  switch (type) {
    case kU8:
    case kU16:
    case kU32: {
      LATHE_TRY(const int64_t value, read_integer(in, type, what));
      return GgufValue(static_cast<uint64_t>(value));
    }
    case kU64: {
      LATHE_TRY(const uint64_t value, in.read<uint64_t>(what));
      return GgufValue(value);
    }
    case kI8:
    case kI16:
    case kI32:
    case kI64: {
      LATHE_TRY(const int64_t value, read_integer(in, type, what));
      return GgufValue(value);
    }
    case kF32:
    case kF64: {
      LATHE_TRY(const double value, read_number(in, type, what));
      return GgufValue(value);
    }
    case kBool: {
      LATHE_TRY(const int64_t value, read_integer(in, type, what));
      return GgufValue(value != 0);
    }
    case kString: {
      LATHE_TRY(std::string text, in.text(what, std::numeric_limits<uint64_t>::max()));
      return GgufValue(std::move(text));
    }
    case kArray: {
      LATHE_TRY(auto array, read_array(in, what));
      return GgufValue(std::move(array));
    }
    default:
      return bad_input("{} has the unknown type {}", what, type);
  }
}

// A tensor as the list describes it; its bytes are cut out once the data section is known.
struct Listed {
  GgufTensor tensor;
  uint64_t offset = 0, bytes = 0;
};

Result<uint64_t> checked_bytes(const GgufTensor& tensor) {
  const std::optional<GgmlBlock> block = ggml_block(tensor.type);
  if (!block) {
    return unsupported("tensor '{}' has the ggml type {}, which Lathe does not know", tensor.name,
                       tensor.type)
        .with_hint("requantize it to a current type, for example Q4_K or Q8_0");
  }
  uint64_t elements = 1;
  for (const int64_t dim : tensor.shape) {
    if (__builtin_mul_overflow(elements, static_cast<uint64_t>(dim), &elements)) {
      return bad_input("tensor '{}': its dimensions overflow", tensor.name);
    }
  }
  const int64_t row = tensor.shape.back();
  if (row % block->elements != 0) {
    return bad_input("tensor '{}': rows of {} elements are no multiple of {}'s blocks of {}",
                     tensor.name, row, block->name, block->elements);
  }
  uint64_t bytes = 0;
  if (elements > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()) ||
      __builtin_mul_overflow(elements / static_cast<uint64_t>(block->elements),
                             static_cast<uint64_t>(block->bytes), &bytes)) {
    return bad_input("tensor '{}': its dimensions overflow", tensor.name);
  }
  return bytes;
}

Result<Listed> read_tensor_info(Cursor& in) {
  Listed listed;
  LATHE_TRY(listed.tensor.name, in.text("a tensor name", kMaxKeyBytes));
  const std::string what = fmt::format("tensor '{}'", listed.tensor.name);
  LATHE_TRY(const uint32_t dims, in.read<uint32_t>(what));
  if (dims == 0 || dims > kMaxDims) {
    return bad_input("{} has {} dimensions; 1 to {} are allowed", what, dims, kMaxDims);
  }
  for (uint32_t i = 0; i < dims; ++i) {
    LATHE_TRY(const uint64_t dim, in.read<uint64_t>(what));
    if (dim == 0 || dim > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
      return bad_input("{} has a dimension of {}", what, dim);
    }
    listed.tensor.shape.insert(listed.tensor.shape.begin(), static_cast<int64_t>(dim));
  }
  LATHE_TRY(listed.tensor.type, in.read<uint32_t>(what));
  LATHE_TRY(listed.offset, in.read<uint64_t>(what));
  LATHE_TRY(listed.bytes, checked_bytes(listed.tensor));
  return listed;
}

Status check_layout(const std::vector<Listed>& tensors, uint64_t data_bytes, uint64_t alignment) {
  std::vector<const Listed*> order;
  for (const Listed& listed : tensors) {
    if (listed.offset % alignment != 0) {
      return bad_input("tensor '{}' begins at byte {} of the data, not at a multiple of {}",
                       listed.tensor.name, listed.offset, alignment);
    }
    if (listed.offset > data_bytes || listed.bytes > data_bytes - listed.offset) {
      return bad_input("tensor '{}' needs {} bytes from byte {} of the data, but the file has {}",
                       listed.tensor.name, listed.bytes, listed.offset, data_bytes)
          .with_hint("truncated? download or copy the file again");
    }
    order.push_back(&listed);
  }
  std::sort(order.begin(), order.end(),
            [](const Listed* a, const Listed* b) { return a->offset < b->offset; });
  for (size_t i = 1; i < order.size(); ++i) {
    if (order[i - 1]->offset + order[i - 1]->bytes > order[i]->offset) {
      return bad_input("tensors '{}' and '{}' overlap", order[i - 1]->tensor.name,
                       order[i]->tensor.name)
          .with_hint("the file is damaged or hostile");
    }
  }
  return {};
}

Status check_version(uint32_t version) {
  if (version == 2 || version == 3) return {};
  if (version == 0x02000000 || version == 0x03000000) {
    return unsupported("a big-endian GGUF file, which Lathe does not read")
        .with_hint("convert it with gguf-py's gguf_convert_endian");
  }
  return unsupported("GGUF version {}; Lathe reads 2 and 3", version)
      .with_hint("convert the model again with a current llama.cpp");
}

}  // namespace

Result<GgufFile> GgufFile::open(const std::string& path) {
  LATHE_TRY(Bytes bytes, map_file(path));
  return parse(std::move(bytes), path);
}

Result<GgufFile> GgufFile::parse(Bytes bytes, std::string_view name) {
  auto parsed = [&]() -> Result<GgufFile> {
    Cursor in(bytes);
    GgufFile file;
    file.name_ = name;
    if (bytes.size() < 4 || std::memcmp(bytes.data(), &kMagic, 4) != 0) {
      return bad_input("not a GGUF file (it does not begin with 'GGUF')");
    }
    LATHE_TRY(const uint32_t magic, in.read<uint32_t>("the header"));
    (void)magic;
    LATHE_TRY(const uint32_t version, in.read<uint32_t>("the header"));
    LATHE_OK(check_version(version));
    LATHE_TRY(const uint64_t tensor_count, in.read<uint64_t>("the header"));
    LATHE_TRY(const uint64_t key_count, in.read<uint64_t>("the header"));
    // The least that a tensor (name, dims, one dim, type, offset) and a key (name, type, value)
    // take.
    if (tensor_count > in.left() / 32 || key_count > in.left() / 13) {
      return bad_input("the header counts {} tensors and {} keys, too many for a file of {} bytes",
                       tensor_count, key_count, bytes.size())
          .with_hint("truncated or damaged? download or copy the file again");
    }
    for (uint64_t i = 0; i < key_count; ++i) {
      LATHE_TRY(std::string key, in.text("a key", kMaxKeyBytes));
      const std::string what = fmt::format("'{}'", key);
      const size_t start = in.position();
      LATHE_TRY(const uint32_t type, in.read<uint32_t>(what));
      LATHE_TRY(GgufValue value, read_value(in, type, what));
      file.raw_.emplace(key, in.since(start));
      if (!file.metadata_.emplace(std::move(key), std::move(value)).second) {
        return bad_input("the key {} comes twice", what);
      }
    }
    std::vector<Listed> listed;
    listed.reserve(static_cast<size_t>(tensor_count));
    for (uint64_t i = 0; i < tensor_count; ++i) {
      LATHE_TRY(Listed next, read_tensor_info(in));
      if (!file.index_.emplace(next.tensor.name, listed.size()).second) {
        return bad_input("the tensor '{}' comes twice", next.tensor.name);
      }
      listed.push_back(std::move(next));
    }
    uint64_t alignment = kDefaultAlignment;
    if (file.has("general.alignment")) {
      const auto stated = file.integer("general.alignment");
      if (!stated || *stated < 8 || (*stated & (*stated - 1)) != 0 || *stated > (1 << 20)) {
        return bad_input("general.alignment is not a power of two from 8 to 2^20");
      }
      alignment = static_cast<uint64_t>(*stated);
    }
    const uint64_t header_end = in.position();
    const uint64_t data_start =
        std::min<uint64_t>((header_end + alignment - 1) / alignment * alignment, bytes.size());
    const uint64_t data_bytes = bytes.size() - data_start;
    LATHE_OK(check_layout(listed, data_bytes, alignment));
    file.header_ = bytes.slice(0, static_cast<size_t>(header_end));
    for (Listed& one : listed) {
      one.tensor.bytes =
          bytes.slice(static_cast<size_t>(data_start + one.offset), static_cast<size_t>(one.bytes));
      file.tensors_.push_back(std::move(one.tensor));
    }
    return file;
  }();
  if (!parsed.ok()) return std::move(parsed).error().in(name);
  return parsed;
}

bool GgufFile::has(std::string_view key) const { return raw_.find(key) != raw_.end(); }

namespace {

const GgufValue* value_of(const GgufFile& file, std::string_view key) {
  const auto it = file.metadata().find(std::string(key));
  return it == file.metadata().end() ? nullptr : &it->second;
}

template <typename T>
const T* held(const GgufFile& file, std::string_view key) {
  const GgufValue* value = value_of(file, key);
  return value ? std::get_if<T>(value) : nullptr;
}

}  // namespace

std::optional<int64_t> GgufFile::integer(std::string_view key) const {
  if (const auto* value = held<int64_t>(*this, key)) return *value;
  const auto* value = held<uint64_t>(*this, key);
  if (!value || *value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
    return std::nullopt;
  }
  return static_cast<int64_t>(*value);
}

std::optional<double> GgufFile::number(std::string_view key) const {
  if (const auto* value = held<double>(*this, key)) return *value;
  if (const auto* value = held<uint64_t>(*this, key)) return static_cast<double>(*value);
  if (const auto* value = held<int64_t>(*this, key)) return static_cast<double>(*value);
  return std::nullopt;
}

std::optional<bool> GgufFile::boolean(std::string_view key) const {
  const auto* value = held<bool>(*this, key);
  return value ? std::optional(*value) : std::nullopt;
}

std::optional<std::string> GgufFile::string(std::string_view key) const {
  const auto* value = held<std::string>(*this, key);
  return value ? std::optional(*value) : std::nullopt;
}

const GgufArray* GgufFile::array(std::string_view key) const {
  const auto* value = held<std::shared_ptr<const GgufArray>>(*this, key);
  return value ? value->get() : nullptr;
}

Bytes GgufFile::raw(std::string_view key) const {
  const auto it = raw_.find(key);
  return it == raw_.end() ? Bytes() : it->second;
}

const GgufTensor* GgufFile::find(std::string_view tensor) const {
  const auto it = index_.find(tensor);
  return it == index_.end() ? nullptr : &tensors_[it->second];
}

}  // namespace lathe
