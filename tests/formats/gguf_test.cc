// ggml's block types against the Python package gguf: bit for bit.
#include "lathe/formats/gguf_types.h"

#include <gtest/gtest.h>

#include <cstring>
#include <set>

#include "golden.h"
#include "lathe/base/hash.h"
#include "lathe/formats/weight_matrix.h"

namespace lathe {
namespace {

using nlohmann::json;

TEST(Gguf, DecodesEveryTypeBitForBit) {
  const auto file = golden::File::load("gguf");
  std::set<std::string> seen;
  for (const json& test : file.cases) {
    if (test.at("what") != "decode") continue;
    SCOPED_TRACE(test.at("format"));
    const FormatPtr format = gguf_format(test.at("type"));
    ASSERT_NE(format, nullptr);
    EXPECT_EQ(format->spec(), test.at("format"));
    const auto shape = file.shape(test, "decoded");
    const auto matrix =
        WeightMatrix::create(format, shape[0], shape[1], {file.bytes(test, "weight")}, "w");
    ASSERT_TRUE(matrix.ok()) << matrix.error().message;
    const auto want = file.floats(test, "decoded");
    const auto got = matrix->decode();
    for (size_t i = 0; i < want.size(); ++i) {
      ASSERT_EQ(std::bit_cast<uint32_t>(got[i]), std::bit_cast<uint32_t>(want[i]))
          << "weight " << i << ": " << got[i] << " instead of " << want[i];
    }
    seen.insert(format->spec());
  }
  EXPECT_EQ(seen.size(), ggml_types().size() - 3);  // all but the floats
}

TEST(Gguf, EncodesBitForBit) {
  const auto file = golden::File::load("gguf");
  int compared = 0;
  for (const json& test : file.cases) {
    if (test.at("what") != "encode") continue;
    SCOPED_TRACE(std::string(test.at("format")) + " " + test.value("input", "recipe"));
    const FormatPtr format = gguf_format(test.at("type"));
    const bool large = test.contains("recipe");
    const auto weights = large ? golden::recipe(test) : file.floats(test, "input");
    const int64_t rows = large ? test.at("rows").get<int64_t>() : file.shape(test, "input")[0];
    const int64_t cols = large ? test.at("cols").get<int64_t>() : file.shape(test, "input")[1];
    const auto matrix = WeightMatrix::encode(format, weights.data(), rows, cols, "w");
    ASSERT_TRUE(matrix.ok()) << matrix.error().message;
    const Bytes& got = matrix->parts()[0];
    if (large) {
      Sha256 hash;
      hash.update(got.span());
      EXPECT_EQ(hash.hex(), test.at("sha256").at("weight"));
    } else {
      const Bytes want = file.bytes(test, "weight");
      ASSERT_EQ(got.size(), want.size());
      EXPECT_EQ(std::memcmp(got.data(), want.data(), want.size()), 0);
    }
    ++compared;
  }
  EXPECT_GT(compared, 40);
}

TEST(Gguf, KnowsTypesByNumber) {
  EXPECT_EQ(gguf_format(0)->spec(), "f32");
  EXPECT_EQ(gguf_format(1)->spec(), "f16");
  EXPECT_EQ(gguf_format(30)->spec(), "bf16");
  EXPECT_EQ(gguf_format(12)->spec(), "q4_k");
  EXPECT_EQ(gguf_format(9), nullptr);  // Q8_1 stands only in memory
  EXPECT_EQ(gguf_format(0xffffffffu), nullptr);
  EXPECT_EQ(ggml_type_name(14), "q6_k");
  EXPECT_EQ(ggml_type_name(99), "type 99");
  for (const GgmlTypeInfo& info : ggml_types()) {
    const auto number = static_cast<uint32_t>(info.type);
    const FormatPtr format = gguf_format(number);
    EXPECT_EQ(ggml_type_of(*format).value(), number);
    EXPECT_EQ(gguf_row_bytes(number, 512).value(), format->bytes(1, 512));
  }
  EXPECT_FALSE(ggml_type_of(*parse_format("int8:row").value()).ok());
  EXPECT_FALSE(gguf_row_bytes(12, 128).ok());
  EXPECT_FALSE(gguf_row_bytes(2, 0).ok());
  EXPECT_FALSE(gguf_row_bytes(99, 256).ok());
  EXPECT_FALSE(gguf_row_bytes(2, int64_t{1} << 62).ok());
}

}  // namespace
}  // namespace lathe
