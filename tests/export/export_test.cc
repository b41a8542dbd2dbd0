// Every target against its source: the exported model is opened again and must give the same
// weights and logits. What other programs make of the files: tools/oracles/exports.py.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "export/export_support.h"
#include "lathe/base/mapped_file.h"
#include "lathe/export/convert.h"
#include "lathe/export/verify.h"
#include "lathe/io/gguf.h"
#include "lathe/io/safetensors.h"
#include "lathe/model/hf_quantized.h"

namespace lathe {
namespace {

namespace fs = std::filesystem;

using test::families_with_models;
using test::open;
using test::tiny;
using test::write;

class FamilyExport : public ::testing::TestWithParam<std::string> {
 protected:
  std::unique_ptr<const Checkpoint> source() const { return open(test::family(GetParam())); }
  void expect_equal(const Checkpoint& source, const std::string& path, double tolerance) const {
    const auto written = open(path);
    ASSERT_TRUE(written);
    const auto verified =
        verify_export(source, *written, {.device = "cpu", .threads = 1, .math = Math::kExact});
    ASSERT_TRUE(verified.ok()) << verified.error().message;
    EXPECT_LE(verified->largest_difference, tolerance * verified->largest_logit);
    EXPECT_GT(verified->largest_logit, 0);
  }
};

TEST_P(FamilyExport, GgufGivesTheSameLogits) {
  const auto checkpoint = source();
  test::TemporaryFolder folder;
  const std::string out = folder.file("model.gguf");
  const auto report = write(*checkpoint, "gguf", out);
  // What GGUF has no key for is refused, not written wrong.
  const bool opt = GetParam().starts_with("opt");
  const bool scaled_attention = GetParam() == "gemma2" || GetParam() == "gemma3-scaled";
  if (opt || scaled_attention) {
    ASSERT_FALSE(report.ok());
    EXPECT_NE(report.error().message.find(opt ? "opt" : "attention_scale"), std::string::npos)
        << report.error().message;
    EXPECT_FALSE(fs::exists(out));
    EXPECT_TRUE(fs::is_empty(folder.path()));
    return;
  }
  ASSERT_TRUE(report.ok()) << report.error().message;
  EXPECT_TRUE(report->exact());
  // Rope divisors of Llama 3 are rounded once more on their way through a tensor of factors.
  expect_equal(*checkpoint, out, GetParam() == "llama3-rope" ? 1e-6 : 0);
}

TEST_P(FamilyExport, HuggingFaceDirectoryGivesTheSameLogits) {
  const auto checkpoint = source();
  test::TemporaryFolder folder;
  const auto report = write(*checkpoint, "hf", folder.file("out"), {"f32", "f32"});
  if (GetParam() == "llama3-rope-gguf") {  // factors one by one
    ASSERT_FALSE(report.ok());
    EXPECT_NE(report.error().message.find("rope factors"), std::string::npos);
    EXPECT_TRUE(fs::is_empty(folder.path()));
    return;
  }
  ASSERT_TRUE(report.ok()) << report.error().message;
  EXPECT_TRUE(report->exact());
  // Whatever the source stores, floats of another kind run through other kernels.
  expect_equal(*checkpoint, folder.file("out"), 2e-5);
}

INSTANTIATE_TEST_SUITE_P(All, FamilyExport, ::testing::ValuesIn(families_with_models()),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

struct Scheme {
  std::string target, format;
};

class SchemeExport : public ::testing::TestWithParam<Scheme> {};

// Rounded by Lathe, laid out as another tool does, read back: the same codes and scales.
TEST_P(SchemeExport, ReadsBackBitForBit) {
  const auto source = open(tiny());
  test::TemporaryFolder folder;
  const std::string out = folder.file("out");
  const auto report = write(*source, GetParam().target, out, {GetParam().format, ""});
  ASSERT_TRUE(report.ok()) << report.error().message;
  const auto written = open(out);
  ASSERT_TRUE(written);
  const FormatPtr format = parse_format(GetParam().format).value();
  for (const MatrixInfo& info : matrices_of(source->config())) {
    if (info.layer < 0) continue;
    const auto original = source->matrix(info.name, info.rows, info.cols);
    const auto found = written->matrix(info.name, info.rows, info.cols);
    ASSERT_TRUE(found.ok()) << found.error().message;
    EXPECT_EQ(found->format().spec(), GetParam().format);
    const auto expected =
        WeightMatrix::encode(format, original->decode().data(), info.rows, info.cols, info.name);
    EXPECT_EQ(found->decode(), expected->decode()) << info.name;
  }
  // From there into the same layout again: nothing is rounded.
  const auto again = write(*written, GetParam().target, folder.file("again"));
  ASSERT_TRUE(again.ok()) << again.error().message;
  EXPECT_TRUE(again->exact());
  EXPECT_EQ(read_text(out + "/model.safetensors").value(),
            read_text(folder.file("again/model.safetensors")).value());
}

INSTANTIATE_TEST_SUITE_P(
    All, SchemeExport,
    ::testing::Values(Scheme{"bitsandbytes", "nf4:b64"}, Scheme{"bitsandbytes", "nf4:b64,dq"},
                      Scheme{"bitsandbytes", "fp4:b64"}, Scheme{"bitsandbytes", "int8:row"},
                      Scheme{"gptq", "int4:g32"}, Scheme{"gptq", "int4:g64,asym"},
                      Scheme{"awq", "int4:g32"}, Scheme{"awq", "int4:g64,asym"},
                      Scheme{"compressed-tensors", "int4:g32"},
                      Scheme{"compressed-tensors", "int4:g64,asym"}));

TEST(Export, Int4InGroupsOfBlocksIsQ4_0) {
  const auto source = open(tiny());
  test::TemporaryFolder folder;
  ASSERT_TRUE(write(*source, "awq", folder.file("awq"), {"int4:g64", ""}).ok());
  const auto quantized = open(folder.file("awq"));
  const auto report = write(*quantized, "gguf", folder.file("model.gguf"));
  ASSERT_TRUE(report.ok()) << report.error().message;
  EXPECT_TRUE(report->exact());
  std::set<std::string> formats;
  for (const ExportedClass& c : report->classes) formats.insert(c.to);
  EXPECT_EQ(formats, (std::set<std::string>{"bf16", "q4_0"}));
  const auto written = open(folder.file("model.gguf"));
  for (const MatrixInfo& info : matrices_of(source->config())) {
    EXPECT_EQ(written->matrix(info.name, info.rows, info.cols)->decode(),
              quantized->matrix(info.name, info.rows, info.cols)->decode())
        << info.name;
  }
}

TEST(Export, TokenizerOfTheBundledModelGoesAlong) {
  const auto source = open(tiny());
  test::TemporaryFolder folder;
  ASSERT_TRUE(write(*source, "gguf", folder.file("model.gguf")).ok());
  const auto file = GgufFile::open(folder.file("model.gguf"));
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(file->string("tokenizer.ggml.model"), "gpt2");
  EXPECT_EQ(file->boolean("tokenizer.ggml.add_bos_token"), true);
  const auto before = load_tokenizer(tiny()).value(), after = load_tokenizer(*file).value();
  for (const char* text : {"Once upon a time, 12 cats.", "<s>don't</s>", "日本語 🙂\n\n x"}) {
    EXPECT_EQ(before->encode(text), after->encode(text)) << text;
    EXPECT_EQ(before->decode(before->encode(text)), after->decode(before->encode(text)));
  }
}

TEST(Export, RefusesWhatATargetCannotHold) {
  const auto source = open(tiny());
  test::TemporaryFolder folder;
  const auto error = [&](const std::string& to, const ExportOptions& options) {
    const auto report = write(*source, to, folder.file("out"), options);
    EXPECT_FALSE(report.ok()) << to;
    EXPECT_TRUE(fs::is_empty(folder.path())) << to;
    return report.ok() ? std::string() : report.error().message;
  };
  EXPECT_NE(error("gguf", {}).find("ends in .gguf"), std::string::npos);
  EXPECT_NE(error("gptq", {}).find("format bf16"), std::string::npos);
  EXPECT_NE(error("gptq", {"nf4", ""}).find("not nf4:b64"), std::string::npos);
  EXPECT_NE(error("hf", {"int8:row", ""}).find("no float format"), std::string::npos);
  EXPECT_FALSE(find_export_target("ggml").ok());
}

// Hostile checkpoints of other tools.
class QuantizedImport : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto source = open(tiny());
    ASSERT_TRUE(write(*source, "gptq", folder_.file("m"), {"int4:g32", ""}).ok());
  }
  // The error of reading the first up_proj, or of opening.
  std::string error() {
    const auto checkpoint = open_checkpoint(folder_.file("m"));
    if (!checkpoint.ok()) return checkpoint.error().message;
    const auto matrix = (*checkpoint)->matrix("model.layers.0.mlp.up_proj", 768, 256);
    return matrix.ok() ? "" : matrix.error().message;
  }
  void change_config(const std::function<void(nlohmann::json&)>& change) {
    auto json = nlohmann::json::parse(read_text(folder_.file("m/config.json")).value());
    change(json["quantization_config"]);
    std::ofstream(folder_.file("m/config.json")) << json;
  }
  // Rewrites the weights with one tensor changed; an empty one is left out.
  void change_tensor(
      const std::string& name,
      const std::function<void(SafetensorsWriter::Declared&, std::vector<uint8_t>&)>& change) {
    const std::string path = folder_.file("m/model.safetensors");
    const auto file = SafetensorsFile::open(path).value();
    std::vector<SafetensorsWriter::Declared> declared;
    std::vector<std::vector<uint8_t>> bytes;
    for (const auto& [key, tensor] : file.tensors()) {
      SafetensorsWriter::Declared one{key, tensor.dtype, tensor.shape};
      std::vector<uint8_t> data(tensor.bytes.data(), tensor.bytes.data() + tensor.bytes.size());
      if (key == name) change(one, data);
      if (data.empty()) continue;
      declared.push_back(one);
      bytes.push_back(data);
    }
    auto writer = SafetensorsWriter::create(path, declared, {}).value();
    for (const auto& data : bytes) ASSERT_TRUE(writer.append(data).ok());
    ASSERT_TRUE(writer.finish().ok());
  }
  test::TemporaryFolder folder_;
  const std::string module_ = "model.layers.0.mlp.up_proj";
};

TEST_F(QuantizedImport, ConfigurationsThatNoFormatHolds) {
  EXPECT_EQ(error(), "");
  change_config([](auto& j) { j["bits"] = 8; });
  EXPECT_NE(error().find("8 bits"), std::string::npos);
  change_config([](auto& j) { j["bits"] = "4"; });
  EXPECT_NE(error().find("whole number"), std::string::npos);
  change_config([](auto& j) { j["bits"] = 4, j["group_size"] = 24; });
  EXPECT_NE(error().find("groups of 24"), std::string::npos);
  change_config([](auto& j) { j["group_size"] = 32, j["checkpoint_format"] = "marlin"; });
  EXPECT_NE(error().find("marlin"), std::string::npos);
  change_config([](auto& j) { j["quant_method"] = "aqlm"; });
  EXPECT_NE(error().find("aqlm"), std::string::npos);
  change_config([](auto& j) { j = "gptq"; });
  EXPECT_NE(error().find("not an object"), std::string::npos);
}

TEST_F(QuantizedImport, ActOrderIsStated) {
  change_tensor(module_ + ".g_idx", [](auto&, auto& data) { data[0] = 3; });
  EXPECT_NE(error().find("act-order"), std::string::npos) << error();
}

TEST_F(QuantizedImport, WrongShapesTypesAndMissingTensors) {
  change_tensor(module_ + ".scales", [](auto& declared, auto&) { declared.dtype = DType::kI16; });
  EXPECT_NE(error().find("scales"), std::string::npos) << error();
  change_tensor(module_ + ".scales", [](auto& declared, auto&) {
    declared.dtype = DType::kF16;
    std::swap(declared.shape[0], declared.shape[1]);
  });
  EXPECT_NE(error().find("has shape"), std::string::npos) << error();
  change_tensor(module_ + ".scales", [](auto&, auto& data) { data.clear(); });
  EXPECT_NE(error().find("is missing"), std::string::npos) << error();
}

TEST_F(QuantizedImport, InfiniteScalesAndZeroPointsOfSixteen) {
  change_tensor(module_ + ".qzeros", [](auto&, auto& data) { data[0] = 0xff; });
  EXPECT_NE(error().find("zero point of 16"), std::string::npos) << error();
  change_tensor(module_ + ".qzeros", [](auto&, auto& data) { data[0] = 0x77; });
  change_tensor(module_ + ".scales", [](auto&, auto& data) { data[0] = 0, data[1] = 0x7c; });
  EXPECT_NE(error(), "");
}

}  // namespace
}  // namespace lathe
