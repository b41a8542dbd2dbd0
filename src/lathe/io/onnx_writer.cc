#include "lathe/io/onnx_writer.h"

#include <filesystem>
#include <set>

#include "lathe/base/version.h"
#include "lathe/io/atomic_file.h"
#include "lathe/io/onnx_schema.h"
#include "lathe/io/protobuf.h"

namespace lathe {
namespace {

using namespace onnx;

constexpr int64_t kIrVersion = 10;
constexpr int64_t kExternal = 1;  // TensorProto.DataLocation
// A runtime maps large tensors from the file, for which they must begin on a page.
constexpr int64_t kPage = 4096, kLarge = 65536, kSmallAlignment = 64;

ProtoWriter header(const std::string& name, DType dtype, const std::vector<int64_t>& shape,
                   size_t bytes) {
  ProtoWriter tensor;
  int64_t expected = size_of(dtype);
  for (const int64_t dim : shape) {
    tensor.integer(TensorField::kDims, dim);
    expected *= dim;
  }
  LATHE_CHECK(expected == static_cast<int64_t>(bytes));
  tensor.integer(TensorField::kType, type_number(dtype));
  tensor.text(TensorField::kName, name);
  return tensor;
}

ProtoWriter entry(std::string_view key, std::string_view value) {
  ProtoWriter out;
  out.text(EntryField::kKey, key);
  out.text(EntryField::kValue, value);
  return out;
}

ProtoWriter value_info(const std::string& name, DType dtype, const std::vector<OnnxDim>& shape) {
  ProtoWriter dims, tensor, type, value;
  for (const OnnxDim& dim : shape) {
    ProtoWriter one;
    if (dim.symbol.empty()) {
      one.integer(TypeField::kDimValue, dim.value);
    } else {
      one.text(TypeField::kDimSymbol, dim.symbol);
    }
    dims.message(TypeField::kDim, one);
  }
  tensor.integer(TypeField::kElement, type_number(dtype));
  tensor.message(TypeField::kShape, dims);
  type.message(TypeField::kTensor, tensor);
  value.text(ValueField::kName, name);
  value.message(ValueField::kType, type);
  return value;
}

ProtoWriter attribute_message(const OnnxAttribute& attribute) {
  ProtoWriter out;
  out.text(AttributeField::kName, attribute.name);
  if (const auto* integer = std::get_if<int64_t>(&attribute.value)) {
    out.integer(AttributeField::kInt, *integer);
    out.integer(AttributeField::kType, AttributeType::kInt);
  } else if (const auto* real = std::get_if<float>(&attribute.value)) {
    out.real(AttributeField::kFloat, *real);
    out.integer(AttributeField::kType, AttributeType::kFloat);
  } else if (const auto* text = std::get_if<std::string>(&attribute.value)) {
    out.text(AttributeField::kString, *text);
    out.integer(AttributeField::kType, AttributeType::kString);
  } else {
    for (const int64_t one : std::get<std::vector<int64_t>>(attribute.value)) {
      out.integer(AttributeField::kInts, one);
    }
    out.integer(AttributeField::kType, AttributeType::kInts);
  }
  return out;
}

ProtoWriter opset(std::string_view domain, int64_t version) {
  ProtoWriter out;
  out.text(OpsetField::kDomain, domain);
  out.integer(OpsetField::kVersion, version);
  return out;
}

}  // namespace

struct OnnxWriter::Impl {
  std::string path;
  int64_t opset;
  AtomicFile data;
  int64_t at = 0;  // bytes of the data file so far
  std::set<std::string> names;
  ProtoWriter graph;
};

OnnxWriter::OnnxWriter(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
OnnxWriter::OnnxWriter(OnnxWriter&&) noexcept = default;
OnnxWriter& OnnxWriter::operator=(OnnxWriter&&) noexcept = default;
OnnxWriter::~OnnxWriter() = default;

Result<OnnxWriter> OnnxWriter::create(const std::string& path, int64_t opset) {
  LATHE_TRY(AtomicFile data, AtomicFile::create(path + ".data"));
  auto impl = std::make_unique<Impl>(Impl{path, opset, std::move(data)});
  impl->graph.text(GraphField::kName, "model");
  return OnnxWriter(std::move(impl));
}

Status OnnxWriter::weight(const std::string& name, DType dtype, const std::vector<int64_t>& shape,
                          std::span<const uint8_t> bytes) {
  LATHE_CHECK(impl_->names.insert(name).second);
  const auto size = static_cast<int64_t>(bytes.size());
  const int64_t alignment = size >= kLarge ? kPage : kSmallAlignment;
  impl_->at = (impl_->at + alignment - 1) / alignment * alignment;
  ProtoWriter tensor = header(name, dtype, shape, bytes.size());
  const std::string file = std::filesystem::path(impl_->path).filename().string() + ".data";
  tensor.message(TensorField::kExternal, entry("location", file));
  tensor.message(TensorField::kExternal, entry("offset", std::to_string(impl_->at)));
  tensor.message(TensorField::kExternal, entry("length", std::to_string(size)));
  tensor.integer(TensorField::kLocation, kExternal);
  impl_->graph.message(GraphField::kInitializers, tensor);
  LATHE_OK(impl_->data.write_at(impl_->at, bytes));
  impl_->at += size;
  return {};
}

void OnnxWriter::constant(const std::string& name, DType dtype, const std::vector<int64_t>& shape,
                          std::span<const uint8_t> bytes) {
  if (!impl_->names.insert(name).second) return;
  ProtoWriter tensor = header(name, dtype, shape, bytes.size());
  tensor.text(TensorField::kRaw, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  impl_->graph.message(GraphField::kInitializers, tensor);
}

void OnnxWriter::node(const OnnxNode& node) {
  ProtoWriter out;
  for (const std::string& name : node.inputs) out.text(NodeField::kInputs, name);
  for (const std::string& name : node.outputs) out.text(NodeField::kOutputs, name);
  out.text(NodeField::kName, node.name);
  out.text(NodeField::kOp, node.op);
  for (const OnnxAttribute& attribute : node.attributes) {
    out.message(NodeField::kAttributes, attribute_message(attribute));
  }
  out.text(NodeField::kDomain, node.domain);
  impl_->graph.message(GraphField::kNodes, out);
}

void OnnxWriter::input(const std::string& name, DType dtype, const std::vector<OnnxDim>& shape) {
  impl_->graph.message(GraphField::kInputs, value_info(name, dtype, shape));
}

void OnnxWriter::output(const std::string& name, DType dtype, const std::vector<OnnxDim>& shape) {
  impl_->graph.message(GraphField::kOutputs, value_info(name, dtype, shape));
}

Status OnnxWriter::finish() {
  ProtoWriter model;
  model.integer(ModelField::kIrVersion, kIrVersion);
  model.text(ModelField::kProducer, "lathe");
  model.text(ModelField::kProducerVersion, kVersion);
  model.message(ModelField::kOpsets, opset("", impl_->opset));
  model.message(ModelField::kOpsets, opset("com.microsoft", 1));
  model.message(ModelField::kGraph, impl_->graph);
  LATHE_OK(impl_->data.commit());
  return write_atomically(impl_->path, model.bytes());
}

}  // namespace lathe
