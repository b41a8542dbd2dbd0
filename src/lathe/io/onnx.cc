#include "lathe/io/onnx.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <optional>

#include "lathe/base/mapped_file.h"
#include "lathe/io/onnx_schema.h"
#include "lathe/io/protobuf.h"

namespace lathe {
namespace {

using namespace onnx;
using Message = std::span<const uint8_t>;

// Calls visit(field) for every field of a message.
template <typename Visit>
Status for_each_field(Message message, Visit visit) {
  ProtoReader reader(message);
  for (;;) {
    LATHE_TRY(const std::optional<ProtoField> field, reader.next());
    if (!field) return {};
    LATHE_OK(visit(*field));
  }
}

Status read_text(const ProtoField& field, std::string& out) {
  LATHE_TRY(const std::string_view text, field.text());
  out = text;
  return {};
}

Status read_attribute(Message message, OnnxNode& node) {
  OnnxAttribute attribute;
  std::optional<float> real;
  std::optional<int64_t> integer;
  std::optional<std::string> text;
  std::vector<int64_t> integers;
  int64_t type = 0;
  LATHE_OK(for_each_field(message, [&](const ProtoField& field) -> Status {
    switch (field.number) {
      case AttributeField::kName:
        return read_text(field, attribute.name);
      case AttributeField::kFloat: {
        LATHE_TRY(real, field.real());
        return {};
      }
      case AttributeField::kInt: {
        LATHE_TRY(integer, field.integer());
        return {};
      }
      case AttributeField::kString:
        return read_text(field, text.emplace());
      case AttributeField::kInts:
        return field.integers(integers);
      case AttributeField::kType: {
        LATHE_TRY(type, field.integer());
        return {};
      }
      default:
        return {};
    }
  }));
  // A value of zero may be left out of the file.
  if (type == AttributeType::kFloat) attribute.value = real.value_or(0.0f);
  if (type == AttributeType::kInt) attribute.value = integer.value_or(0);
  if (type == AttributeType::kString) attribute.value = text.value_or("");
  if (type == AttributeType::kInts) attribute.value = std::move(integers);
  if (type == AttributeType::kFloat || type == AttributeType::kInt ||
      type == AttributeType::kString || type == AttributeType::kInts) {
    node.attributes.push_back(std::move(attribute));
  }
  return {};
}

Result<OnnxNode> read_node(Message message) {
  OnnxNode node;
  LATHE_OK(for_each_field(message, [&](const ProtoField& field) -> Status {
    switch (field.number) {
      case NodeField::kInputs:
        return read_text(field, node.inputs.emplace_back());
      case NodeField::kOutputs:
        return read_text(field, node.outputs.emplace_back());
      case NodeField::kName:
        return read_text(field, node.name);
      case NodeField::kOp:
        return read_text(field, node.op);
      case NodeField::kDomain:
        return read_text(field, node.domain);
      case NodeField::kAttributes: {
        LATHE_TRY(const Message attribute, field.message());
        return read_attribute(attribute, node);
      }
      default:
        return {};
    }
  }));
  return node;
}

std::optional<DType> dtype_of(int64_t number) {
  for (const TypeNumber& type : kTypes) {
    if (type.number == number) return type.dtype;
  }
  return std::nullopt;
}

struct External {
  std::string location;
  int64_t offset = 0, length = -1;  // −1: to the end of the file
};

Status read_external(Message message, External& out) {
  std::string key, value;
  LATHE_OK(for_each_field(message, [&](const ProtoField& field) -> Status {
    if (field.number == EntryField::kKey) return read_text(field, key);
    if (field.number == EntryField::kValue) return read_text(field, value);
    return {};
  }));
  if (key == "location") out.location = value;
  if (key != "offset" && key != "length") return {};
  int64_t number = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
  if (error != std::errc() || end != value.data() + value.size() || number < 0) {
    return bad_input("external data with the {} '{}'", key, value);
  }
  (key == "offset" ? out.offset : out.length) = number;
  return {};
}

// A name inside of the folder: nothing absolute, no step upwards.
Status check_location(const std::string& location) {
  const std::filesystem::path path(location);
  bool good = !location.empty() && !path.is_absolute() && location.find('\0') == std::string::npos;
  for (const auto& part : path) good = good && part != "..";
  if (good) return {};
  return bad_input("external data at '{}', which is outside of the model's folder", location)
      .with_hint("the file is damaged or hostile");
}

}  // namespace

const StoredTensor* OnnxFile::find(std::string_view name) const {
  const auto it = tensors_.find(name);
  return it == tensors_.end() ? nullptr : &it->second;
}

Status OnnxFile::read_tensor(Message message, const DataFiles& files) {
  std::string name;
  std::vector<int64_t> shape;
  std::optional<Message> raw;
  External external;
  int64_t type = 0, location = 0;
  LATHE_OK(for_each_field(message, [&](const ProtoField& field) -> Status {
    switch (field.number) {
      case TensorField::kName:
        return read_text(field, name);
      case TensorField::kDims:
        return field.integers(shape);
      case TensorField::kType: {
        LATHE_TRY(type, field.integer());
        return {};
      }
      case TensorField::kRaw: {
        LATHE_TRY(raw, field.message());
        return {};
      }
      case TensorField::kExternal: {
        LATHE_TRY(const Message entry, field.message());
        return read_external(entry, external);
      }
      case TensorField::kLocation: {
        LATHE_TRY(location, field.integer());
        return {};
      }
      default:
        return {};
    }
  }));
  const auto dtype = dtype_of(type);
  const bool outside = location == 1;
  if (!dtype || (!outside && !raw)) return {};
  const auto bytes = checked_bytes(*dtype, shape);
  if (!bytes) return bad_input("the shape of tensor '{}' is too large", name);
  Bytes data;
  if (outside) {
    LATHE_OK_IN(check_location(external.location), fmt::format("tensor '{}'", name));
    auto file = opened_.find(external.location);
    if (file == opened_.end()) {
      LATHE_TRY(Bytes whole, files(external.location));
      data_files_.push_back(external.location);
      file = opened_.emplace(external.location, DataFile{std::move(whole)}).first;
    }
    DataFile& source = file->second;
    const auto size = static_cast<int64_t>(source.bytes.size());
    if (external.offset > size || *bytes > size - external.offset) {
      return bad_input("tensor '{}' needs {} bytes from byte {} of '{}', which has only {}", name,
                       *bytes, external.offset, external.location, size)
          .with_hint("truncated? download or copy the file again");
    }
    if (external.length >= 0 && external.length != *bytes) {
      return bad_input("tensor '{}' of {} bytes has {} bytes of external data", name, *bytes,
                       external.length);
    }
    data = source.bytes.slice(static_cast<size_t>(external.offset), static_cast<size_t>(*bytes));
    if (reinterpret_cast<uintptr_t>(data.data()) % static_cast<uintptr_t>(size_of(*dtype))) {
      source.copied += *bytes;
      if (source.copied > size) {
        return bad_input("unaligned tensors lie over each other in '{}'", external.location)
            .with_hint("the file is damaged or hostile");
      }
      data = Bytes::copy_of(data.span());
    }
  } else {
    if (static_cast<int64_t>(raw->size()) != *bytes) {
      return bad_input("tensor '{}' needs {} bytes, but has {}", name, *bytes, raw->size());
    }
    data = Bytes::copy_of(*raw);
  }
  if (!tensors_.emplace(name, StoredTensor{*dtype, std::move(shape), std::move(data)}).second) {
    return bad_input("two tensors are named '{}'", name);
  }
  return {};
}

Status OnnxFile::read_graph(Message graph, const DataFiles& files) {
  return for_each_field(graph, [&](const ProtoField& field) -> Status {
    if (field.number == GraphField::kNodes) {
      LATHE_TRY(const Message message, field.message());
      LATHE_TRY(OnnxNode node, read_node(message));
      nodes_.push_back(std::move(node));
    } else if (field.number == GraphField::kInitializers) {
      LATHE_TRY(const Message message, field.message());
      LATHE_OK(read_tensor(message, files));
    }
    return {};
  });
}

Result<OnnxFile> OnnxFile::parse(const Bytes& model, std::string_view name,
                                 const DataFiles& files) {
  OnnxFile file;
  bool found = false;
  LATHE_OK_IN(for_each_field(model.span(),
                             [&](const ProtoField& field) -> Status {
                               if (field.number != ModelField::kGraph) return {};
                               if (found) return bad_input("two graphs");
                               found = true;
                               LATHE_TRY(const Message graph, field.message());
                               return file.read_graph(graph, files);
                             }),
              name);
  if (!found) return bad_input("{}: no graph inside; not an ONNX file", name);
  file.opened_.clear();
  return file;
}

Result<OnnxFile> OnnxFile::open(const std::string& path) {
  LATHE_TRY(const Bytes model, map_file(path));
  const std::string folder = std::filesystem::path(path).parent_path().string();
  return parse(model, path, [&](const std::string& location) {
    return map_file((std::filesystem::path(folder) / location).string());
  });
}

}  // namespace lathe
