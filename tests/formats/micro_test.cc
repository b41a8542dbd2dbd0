// MXFP4 and NVFP4 against ml_dtypes and gguf (tools/oracles/formats_micro.py).
#include <gmock/gmock.h>

#include "golden.h"
#include "lathe/formats/layouts.h"
#include "lathe/formats/weight_matrix.h"

namespace lathe {
namespace {

nlohmann::json reference() {
  std::ifstream file(std::string(LATHE_SOURCE_DIR) + "/tests/golden/formats/micro.json");
  return nlohmann::json::parse(file);
}

// The input of the oracle.
std::vector<float> input(const nlohmann::json& golden) {
  const int64_t rows = golden["rows"], cols = golden["cols"];
  std::vector<float> x = golden::bells(golden["seed"], rows * cols);
  for (int64_t k = 0; k < cols; ++k) {
    x[size_t(cols + k)] *= 1e-3f;
    if (k < 32) x[size_t(2 * cols + k)] = 0;
    x[size_t(3 * cols + k)] *= 50;
  }
  return x;
}

TEST(Micro, EqualsTheReference) {
  const nlohmann::json golden = reference();
  const std::vector<float> x = input(golden);
  for (const char* spec : {"mxfp4", "nvfp4"}) {
    SCOPED_TRACE(spec);
    const auto matrix = WeightMatrix::encode(parse_format(spec).value(), x.data(), golden["rows"],
                                             golden["cols"], "w");
    ASSERT_TRUE(matrix.ok()) << matrix.error().message;
    const auto scales = golden[spec]["scale"].get<std::vector<uint8_t>>();
    EXPECT_TRUE(std::ranges::equal(matrix->parts()[1].span(), scales));
    EXPECT_EQ(matrix->decode(), golden[spec]["decoded"].get<std::vector<float>>());
  }
}

TEST(Micro, ScalesOfEightBits) {
  const nlohmann::json golden = reference();
  const auto values = golden["e4m3"].get<std::vector<float>>();
  for (size_t i = 0; i < values.size(); ++i) {
    EXPECT_EQ(e4m3_value(static_cast<uint8_t>(i)), values[i]) << i;
    EXPECT_EQ(e4m3_value(static_cast<uint8_t>(i | 0x80)), -values[i]) << i;
  }
}

TEST(Micro, RefusesScalesThatAreNoNumbers) {
  const std::vector<float> x(64, 1.0f);
  for (const auto& [spec, code] :
       {std::pair{"mxfp4", 0xff}, {"mxfp4", 0xfd}, {"nvfp4", 0x7f}, {"nvfp4", 0x81}}) {
    const FormatPtr format = parse_format(spec).value();
    const auto good = WeightMatrix::encode(format, x.data(), 1, 64, "w").value();
    std::vector<Bytes> parts(good.parts().begin(), good.parts().end());
    std::vector<uint8_t> scales(parts[1].span().begin(), parts[1].span().end());
    scales[1] = static_cast<uint8_t>(code);
    parts[1] = Bytes::copy_of(scales);
    const auto bad = WeightMatrix::create(format, 1, 64, parts, "w");
    ASSERT_FALSE(bad.ok()) << spec;
    EXPECT_THAT(bad.error().message, testing::HasSubstr("element 1 of part 'weight.scale'"));
  }
}

}  // namespace
}  // namespace lathe
