// The layout of onnxruntime's MatMulNBits, against the weights that onnxruntime itself multiplies
// by (tests/golden/onnx/nbits.json, by tools/oracles/onnx_files.py).
#include "lathe/formats/nbits.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "lathe/base/mapped_file.h"
#include "lathe/formats/gguf_types.h"
#include "support/files.h"

namespace lathe {
namespace {

Bytes from_hex(const std::string& text) {
  std::vector<uint8_t> out;
  for (size_t i = 0; i < text.size(); i += 2) {
    out.push_back(static_cast<uint8_t>(std::stoi(text.substr(i, 2), nullptr, 16)));
  }
  return Bytes::copy_of(out);
}

NBits from_json(const nlohmann::json& j) {
  NBits n;
  n.bits = j["bits"];
  n.block = j["block"];
  n.rows = j["rows"];
  n.cols = j["cols"];
  n.codes = from_hex(j["codes"]);
  n.scales = from_hex(j["scales"]);
  n.zeros = from_hex(j["zeros"]);
  return n;
}

std::vector<nlohmann::json> golden_cases() {
  return nlohmann::json::parse(
      read_text(test::source_file("tests/golden/onnx/nbits.json")).value())["cases"];
}

std::vector<float> weights(int64_t count) {
  std::vector<float> out(static_cast<size_t>(count));
  for (size_t i = 0; i < out.size(); ++i) {
    out[i] = std::sin(static_cast<float>(i) * 1.7f) * (1 + static_cast<float>(i % 11));
  }
  return out;
}

TEST(NBits, DecodesToTheWeightsOfOnnxruntime) {
  std::map<std::string, int> seen;
  for (const nlohmann::json& fact : golden_cases()) {
    const NBits n = from_json(fact);
    const auto matrix = from_nbits(n, "w");
    ASSERT_TRUE(matrix.ok()) << matrix.error().message;
    const Bytes expected = from_hex(fact["weights"]);
    const std::vector<float> found = matrix->decode();
    ASSERT_EQ(expected.size(), found.size() * sizeof(float));
    for (size_t i = 0; i < found.size(); ++i) {
      float weight;
      std::memcpy(&weight, expected.data() + 4 * i, 4);
      ASSERT_EQ(found[i], weight) << matrix->format().spec() << " " << i;
    }
    ++seen[matrix->format().spec()];
    // And back: whatever the format became, the same weights.
    if (matrix->format().encoding() == Encoding::kFloat) continue;
    const NBits again = to_nbits(*matrix);
    EXPECT_EQ(from_nbits(again, "w")->decode(), found);
  }
  for (const char* spec : {"int4:g16", "int4:g32,asym", "int4:g256", "int8:g16", "int8:g256",
                           "int2:g32", "int2:g32,asym", "int4:row", "int8:row", "f32"}) {
    EXPECT_GT(seen[spec], 0) << spec;
  }
}

class EveryHeldFormat : public ::testing::TestWithParam<std::string> {};

TEST_P(EveryHeldFormat, KeepsEveryWeight) {
  const FormatPtr format = parse_format(GetParam()).value();
  ASSERT_TRUE(nbits_holds(*format));
  for (const int64_t cols : {int64_t{256}, int64_t{512}, int64_t{100}}) {
    if (!format->supports(3, cols).ok()) continue;
    const auto matrix =
        WeightMatrix::encode(format, weights(3 * cols).data(), 3, cols, "w").value();
    const NBits n = to_nbits(matrix);
    EXPECT_EQ(n.block, nbits_block(*format, cols));
    const auto back = from_nbits(n, "w");
    ASSERT_TRUE(back.ok()) << back.error().message;
    EXPECT_EQ(back->decode(), matrix.decode()) << cols;
  }
}

INSTANTIATE_TEST_SUITE_P(All, EveryHeldFormat,
                         ::testing::Values("int4:g32", "int4:g128", "int4:g64,asym", "int4:g48",
                                           "int4:g512,asym", "int4:row", "int8:row", "int8:g32",
                                           "int8:g128", "int8:g96", "int3:g64", "int3:g64,asym",
                                           "int2:g32", "int2:g32,asym", "q4_0", "q5_0", "q8_0",
                                           "q6_k"));

TEST(NBits, FormatsComeBackAsTheyWere) {
  for (const char* spec : {"int4:g32", "int4:g64,asym", "int4:row", "int8:row", "int8:g64",
                           "int2:g32", "int2:g32,asym"}) {
    const auto matrix =
        WeightMatrix::encode(parse_format(spec).value(), weights(4 * 256).data(), 4, 256, "w")
            .value();
    const auto back = from_nbits(to_nbits(matrix), "w").value();
    EXPECT_EQ(back.format().spec(), spec);
    for (size_t i = 0; i < matrix.parts().size(); ++i) {
      EXPECT_TRUE(std::ranges::equal(back.parts()[i].span(), matrix.parts()[i].span()))
          << spec << " part " << i;
    }
  }
}

TEST(NBits, OtherFormatsAreNotHeld) {
  for (const char* spec :
       {"nf4:b64", "fp4:b64", "mxfp4", "q4_k", "q4_1", "int4:g64,offset", "f16", "bf16"}) {
    EXPECT_FALSE(nbits_holds(*parse_format(spec).value())) << spec;
  }
}

TEST(NBits, RowsWithoutWeightsStayZero) {
  const std::vector<float> nothing(2 * 64, 0.0f);
  for (const char* spec : {"int4:g32", "int8:row", "int2:g32,asym"}) {
    const auto matrix =
        WeightMatrix::encode(parse_format(spec).value(), nothing.data(), 2, 64, "w").value();
    EXPECT_EQ(from_nbits(to_nbits(matrix), "w")->decode(), nothing) << spec;
  }
}

TEST(NBits, RefusesSizesThatDoNotFit) {
  const NBits good = from_json(golden_cases()[1]);
  ASSERT_TRUE(from_nbits(good, "w").ok());
  const auto error = [&](const auto& change) {
    NBits bent = good;
    change(bent);
    const auto matrix = from_nbits(bent, "w");
    return matrix.ok() ? "" : matrix.error().message;
  };
  EXPECT_NE(error([](NBits& n) { n.bits = 3; }).find("3 bits"), std::string::npos);
  for (const int64_t block :
       {int64_t{0}, int64_t{8}, int64_t{48}, int64_t{-16}, int64_t{1} << 62}) {
    EXPECT_NE(error([&](NBits& n) { n.block = block; }).find("powers of two"), std::string::npos);
  }
  EXPECT_NE(error([](NBits& n) { n.codes = n.codes.slice(0, 1); }).find("bytes of codes"),
            std::string::npos);
  EXPECT_NE(error([](NBits& n) { n.scales = n.scales.slice(4, 4); }).find("bytes of scales"),
            std::string::npos);
  EXPECT_NE(error([](NBits& n) { n.zeros = n.zeros.slice(0, 1); }).find("zero points"),
            std::string::npos);
  for (const float bad : {INFINITY, NAN, 3e38f}) {
    EXPECT_NE(error([&](NBits& n) {
                std::vector<uint8_t> scales(n.scales.data(), n.scales.data() + n.scales.size());
                std::memcpy(scales.data(), &bad, 4);
                n.scales = Bytes::copy_of(scales);
              }),
              "")
        << bad;
  }
}

}  // namespace
}  // namespace lathe
