// Protocol Buffers' wire format and ONNX files, ours and the onnx package's (tests/golden/onnx, by
// tools/oracles/onnx_files.py).
#include "lathe/io/onnx.h"

#include "io_support.h"
#include "lathe/base/mapped_file.h"
#include "lathe/io/onnx_schema.h"
#include "lathe/io/onnx_writer.h"
#include "lathe/io/protobuf.h"

namespace lathe {
namespace {

using nlohmann::json;
namespace field = lathe::onnx;

std::string onnx_golden(const std::string& name) {
  return std::string(LATHE_SOURCE_DIR) + "/tests/golden/onnx/" + name;
}
std::string hex_of_text(const std::string& text) {
  return hex_of({reinterpret_cast<const uint8_t*>(text.data()), text.size()});
}
std::vector<uint8_t> from_text(const std::string& text) { return {text.begin(), text.end()}; }

// The examples of protobuf.dev, "Encoding".
TEST(Protobuf, WritesTheDocumentedBytes) {
  ProtoWriter inner, outer;
  inner.integer(1, 150);
  EXPECT_EQ(hex_of_text(inner.bytes()), "089601");
  outer.message(3, inner);
  outer.text(2, "testing");
  EXPECT_EQ(hex_of_text(outer.bytes()), "1a03089601120774657374696e67");
  ProtoWriter more;
  more.integer(1, -2);
  more.real(2, 1.0f);
  EXPECT_EQ(hex_of_text(more.bytes()), "08feffffffffffffffff01150000803f");
}

TEST(Protobuf, ReadsFieldsAndPackedRuns) {
  ProtoWriter message;
  message.integer(1, -2);
  message.real(2, 0.5f);
  message.text(3, std::string("\x01\x96\x01", 3));
  const auto bytes = from_text(message.bytes());
  ProtoReader reader(bytes);
  EXPECT_EQ(reader.next().value()->integer().value(), -2);
  const auto real = reader.next().value();
  EXPECT_EQ(real->number, 2u);
  EXPECT_EQ(real->real().value(), 0.5f);
  EXPECT_FALSE(real->integer().ok());
  EXPECT_FALSE(real->text().ok());
  std::vector<int64_t> run;
  ASSERT_TRUE(reader.next().value()->integers(run).ok());
  EXPECT_EQ(run, (std::vector<int64_t>{1, 150}));
  EXPECT_FALSE(reader.next().value().has_value());
}

TEST(Protobuf, RefusesDamagedMessages) {
  const auto error = [](std::vector<uint8_t> bytes) {
    ProtoReader reader(bytes);
    const auto field = reader.next();
    return field.ok() ? std::string() : field.error().message;
  };
  EXPECT_NE(error({0x08}).find("within a number"), std::string::npos);
  EXPECT_NE(error({0x08, 0x80}).find("within a number"), std::string::npos);
  EXPECT_NE(error({0x00, 0x01}).find("no field 0"), std::string::npos);
  EXPECT_NE(error({0x0b}).find("wire type 3"), std::string::npos);
  EXPECT_NE(error({0x0a, 0x05, 0x01}).find("says 5 bytes, but only 1"), std::string::npos);
  EXPECT_NE(error({0x0d, 0x05, 0x01}).find("ends within field 1"), std::string::npos);
  EXPECT_NE(error({0x09, 0x05}).find("ends within field 1"), std::string::npos);
  EXPECT_NE(error(std::vector<uint8_t>(11, 0xff)).find("64 bits"), std::string::npos);
  // A length that does not fit 63 bits.
  EXPECT_NE(error({0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01}), "");
  ProtoField packed;
  packed.kind = ProtoField::Kind::kBytes;
  const std::vector<uint8_t> open = {0x01, 0x80};
  packed.data = open;
  std::vector<int64_t> run;
  EXPECT_FALSE(packed.integers(run).ok());
}

TEST(Onnx, ReadsWhatTheReferenceWrote) {
  const auto file = OnnxFile::open(onnx_golden("all.onnx"));
  ASSERT_TRUE(file.ok()) << file.error().message;
  const json facts = json::parse(read_text(onnx_golden("all.onnx.json")).value());
  EXPECT_EQ(file->tensors().size(), facts["tensors"].size());
  for (const auto& [name, fact] : facts["tensors"].items()) {
    const StoredTensor* tensor = file->find(name);
    ASSERT_TRUE(tensor) << name;
    EXPECT_EQ(json(tensor->shape), fact["shape"]) << name;
    EXPECT_EQ(hex_of(tensor->bytes.span()), fact["hex"]) << name;
    EXPECT_EQ(reinterpret_cast<uintptr_t>(tensor->bytes.data()) % size_of(tensor->dtype), 0u);
  }
  EXPECT_EQ(file->data_files(), std::vector<std::string>{"all.onnx.data"});
  ASSERT_EQ(file->nodes().size(), 2u);
  for (size_t i = 0; i < 2; ++i) {
    const OnnxNode& node = file->nodes()[i];
    const json& fact = facts["nodes"][i];
    EXPECT_EQ(node.op, fact["op"]);
    EXPECT_EQ(node.name, fact["name"]);
    EXPECT_EQ(node.domain, fact["domain"]);
    EXPECT_EQ(json(node.inputs), fact["inputs"]);
    EXPECT_EQ(json(node.outputs), fact["outputs"]);
  }
  const OnnxNode& node = file->nodes()[1];
  EXPECT_EQ(*node.attribute<int64_t>("N"), -7);
  EXPECT_EQ(*node.attribute<float>("epsilon"), 0.1f);
  EXPECT_EQ(*node.attribute<std::string>("label"), "naïve");
  EXPECT_EQ(*node.attribute<std::vector<int64_t>>("perm"), (std::vector<int64_t>{1, 0, -2}));
  EXPECT_EQ(node.attribute<int64_t>("epsilon"), nullptr);
  EXPECT_EQ(node.attribute<int64_t>("reals"), nullptr);
}

TEST(Onnx, WritesWhatItReads) {
  TempFolder folder;
  const auto reference = OnnxFile::open(onnx_golden("all.onnx")).value();
  auto writer = OnnxWriter::create(folder / "a.onnx", 21);
  ASSERT_TRUE(writer.ok());
  for (const auto& [name, tensor] : reference.tensors()) {
    if (tensor.bytes.size() > 100) {
      ASSERT_TRUE(writer->weight(name, tensor.dtype, tensor.shape, tensor.bytes.span()).ok());
    } else {
      writer->constant(name, tensor.dtype, tensor.shape, tensor.bytes.span());
      writer->constant(name, tensor.dtype, tensor.shape, tensor.bytes.span());  // no new one
    }
  }
  for (const OnnxNode& node : reference.nodes()) writer->node(node);
  writer->input("x", DType::kF32, {"rows", 16});
  writer->output("z", DType::kF32, {"rows", 16});
  EXPECT_FALSE(std::filesystem::exists(folder / "a.onnx"));
  ASSERT_TRUE(writer->finish().ok());
  const auto file = OnnxFile::open(folder / "a.onnx");
  ASSERT_TRUE(file.ok()) << file.error().message;
  ASSERT_EQ(file->tensors().size(), reference.tensors().size());
  for (const auto& [name, tensor] : reference.tensors()) {
    EXPECT_EQ(file->find(name)->shape, tensor.shape);
    EXPECT_EQ(hex_of(file->find(name)->bytes.span()), hex_of(tensor.bytes.span())) << name;
  }
  ASSERT_EQ(file->nodes().size(), reference.nodes().size());
  EXPECT_EQ(file->nodes()[1].inputs, reference.nodes()[1].inputs);
  EXPECT_EQ(*file->nodes()[1].attribute<float>("epsilon"), 0.1f);
  EXPECT_EQ(*file->nodes()[1].attribute<std::vector<int64_t>>("perm"),
            (std::vector<int64_t>{1, 0, -2}));
}

// A model of one tensor, F32 [2], as a message that a test can bend.
struct Bent {
  std::vector<int64_t> dims = {2};
  int64_t type = 1, location = 1;
  std::string raw, offset = "0", length = "8", place = "data";
  int copies = 1;

  std::string error(size_t data_bytes = 8) const {
    ProtoWriter tensor, graph, model;
    for (const int64_t dim : dims) tensor.integer(field::TensorField::kDims, dim);
    tensor.integer(field::TensorField::kType, type);
    tensor.text(field::TensorField::kName, "w");
    if (!raw.empty()) tensor.text(field::TensorField::kRaw, raw);
    for (const auto& [key, value] :
         {std::pair{"location", place}, {"offset", offset}, {"length", length}}) {
      ProtoWriter entry;
      entry.text(field::EntryField::kKey, key);
      entry.text(field::EntryField::kValue, value);
      tensor.message(field::TensorField::kExternal, entry);
    }
    tensor.integer(field::TensorField::kLocation, location);
    for (int i = 0; i < copies; ++i) graph.message(field::GraphField::kInitializers, tensor);
    model.message(field::ModelField::kGraph, graph);
    const auto bytes = from_text(model.bytes());
    const auto file = OnnxFile::parse(Bytes::copy_of(bytes), "x.onnx", [&](const std::string&) {
      return Result<Bytes>(Bytes::copy_of(std::vector<uint8_t>(data_bytes)));
    });
    return file.ok() ? "" : file.error().message;
  }
};

TEST(Onnx, RefusesHostileTensors) {
  EXPECT_EQ(Bent{}.error(), "");
  EXPECT_NE(Bent{}.error(7).find("which has only 7"), std::string::npos);
  EXPECT_NE(Bent{.offset = "1"}.error().find("from byte 1"), std::string::npos);
  EXPECT_NE(Bent{.offset = "9223372036854775807"}.error().find("which has only"),
            std::string::npos);
  EXPECT_NE(Bent{.offset = "-1"}.error().find("offset '-1'"), std::string::npos);
  EXPECT_NE(Bent{.offset = "1x"}.error().find("offset '1x'"), std::string::npos);
  EXPECT_NE(Bent{.length = "4"}.error().find("has 4 bytes of external"), std::string::npos);
  EXPECT_NE((Bent{.dims = {int64_t{1} << 40, int64_t{1} << 40}}).error().find("too large"),
            std::string::npos);
  EXPECT_NE(Bent{.dims = {-2}}.error().find("too large"), std::string::npos);
  EXPECT_NE(Bent{.copies = 2}.error().find("two tensors"), std::string::npos);
  EXPECT_NE((Bent{.location = 0, .raw = "1234567"}).error().find("has 7"), std::string::npos);
  for (const char* place : {"../data", "/etc/passwd", "a/../../data", ""}) {
    EXPECT_NE(Bent{.place = place}.error().find("outside of the model's folder"), std::string::npos)
        << place;
  }
  EXPECT_EQ(Bent{.place = "sub/data"}.error(), "");
  EXPECT_EQ((Bent{.offset = "1"}).error(9), "");
  EXPECT_NE((Bent{.dims = {2}, .offset = "1", .copies = 2}).error(9).find("over each other"),
            std::string::npos);
  // Types that Lathe has no use for, and values in other fields, are passed over.
  EXPECT_EQ(Bent{.type = 8}.error(), "");
  EXPECT_EQ(Bent{.location = 0}.error(), "");
}

TEST(Onnx, RefusesWhatIsNoModel) {
  const auto error = [](const std::string& text) {
    const auto bytes = from_text(text);
    const auto file = OnnxFile::parse(Bytes::copy_of(bytes), "x.onnx", [](const std::string&) {
      return Result<Bytes>(not_found("no data"));
    });
    return file.ok() ? "" : file.error().message;
  };
  EXPECT_NE(error("").find("no graph"), std::string::npos);
  EXPECT_NE(error("{}"), "");
  const std::string whole = read_text(onnx_golden("all.onnx")).value();
  for (size_t size = 1; size < whole.size(); size += 7) EXPECT_NE(error(whole.substr(0, size)), "");
  EXPECT_NE(error(whole).find("no data"), std::string::npos);
}

}  // namespace
}  // namespace lathe
