// int8:row,outliers and the pass llm_int8: columns that meet large inputs stay in 16 bits.
#include "lathe/formats/outliers.h"

#include <cmath>
#include <fstream>

#include "compress/compress_test_util.h"
#include "lathe/base/rng.h"
#include "lathe/compress/calibration.h"
#include "lathe/tensor/dtype.h"

namespace lathe {
namespace {

using test::recipe_of;
using ::testing::HasSubstr;

FormatPtr format() { return parse_format("int8:row,outliers").value(); }

std::vector<float> some_weights(int64_t count) {
  Rng rng(5);
  std::vector<float> out(static_cast<size_t>(count));
  for (float& w : out) w = static_cast<float>(rng.normal());
  return out;
}

TEST(Outliers, AreBf16BesideInt8RowsOfTheRest) {
  constexpr int64_t kRows = 5, kCols = 37;
  std::vector<float> weights = some_weights(kRows * kCols);
  const std::vector<int32_t> columns = {0, 7, 36};
  for (int64_t r = 0; r < kRows; ++r) weights[size_t(r * kCols + 7)] *= 100;  // none of the scales
  const WeightMatrix stored =
      encode_outliers(format(), weights.data(), kRows, kCols, columns, "w").value();
  EXPECT_EQ(outlier_columns(stored), columns);
  EXPECT_EQ(stored.bytes(), kRows * kCols + 4 * kRows + 4 + 3 * 4 + 3 * 2 * kRows);
  std::vector<float> rest = weights;
  for (int64_t r = 0; r < kRows; ++r) {
    for (const int32_t k : columns) rest[size_t(r * kCols + k)] = 0;
  }
  const std::vector<float> expected =
      WeightMatrix::encode(parse_format("int8:row").value(), rest.data(), kRows, kCols, "w")
          .value()
          .decode();
  const std::vector<float> got = stored.decode();
  for (int64_t i = 0; i < kRows * kCols; ++i) {
    const bool kept = std::count(columns.begin(), columns.end(), i % kCols) > 0;
    const float exact = kept ? bf16_to_f32(f32_to_bf16(weights[size_t(i)])) : expected[size_t(i)];
    EXPECT_EQ(got[size_t(i)], exact) << i;
  }
}

TEST(Outliers, OfNoneAndOfAll) {
  const std::vector<float> weights = some_weights(4 * 16);
  const auto none = encode_outliers(format(), weights.data(), 4, 16, {}, "w").value();
  EXPECT_EQ(
      none.decode(),
      WeightMatrix::encode(parse_format("int8:row").value(), weights.data(), 4, 16, "w")->decode());
  std::vector<int32_t> columns(16);
  for (int32_t k = 0; k < 16; ++k) columns[size_t(k)] = k;
  const auto all = encode_outliers(format(), weights.data(), 4, 16, columns, "w").value();
  EXPECT_EQ(
      all.decode(),
      WeightMatrix::encode(parse_format("bf16").value(), weights.data(), 4, 16, "w")->decode());
}

TEST(Outliers, HostileColumnsAreRefused) {
  const std::vector<float> weights = some_weights(4 * 16);
  const std::vector<int32_t> columns = {2, 9};
  const auto good = encode_outliers(format(), weights.data(), 4, 16, columns, "w").value();
  const auto refusal = [&](size_t at, int32_t value) {
    std::vector<Bytes> parts(good.parts().begin(), good.parts().end());
    std::vector<uint8_t> bytes(parts[2].span().begin(), parts[2].span().end());
    std::memcpy(bytes.data() + at, &value, sizeof(value));
    parts[2] = Bytes::copy_of(bytes);
    const auto read = WeightMatrix::create(format(), 4, 16, parts, "w");
    EXPECT_FALSE(read.ok());
    return read.ok() ? "" : read.error().message;
  };
  EXPECT_THAT(refusal(0, -1), HasSubstr("weight.outliers"));
  EXPECT_THAT(refusal(0, 1), HasSubstr("weight.outliers"));
  EXPECT_THAT(refusal(0, 1 << 30), HasSubstr("weight.outliers"));
  EXPECT_THAT(refusal(4, -3), HasSubstr("column -3"));
  EXPECT_THAT(refusal(4, 9), HasSubstr("column 9 of 16 after 9"));
  EXPECT_THAT(refusal(8, 16), HasSubstr("column 16 of 16"));
  EXPECT_THAT(refusal(12, 0x7fc07fc0), HasSubstr("weight.outliers"));  // NaN
}

// The columns of each matrix are those whose input reaches the threshold somewhere in the text.
TEST(LlmInt8, TheThresholdDecides) {
  test::TemporaryFolder folder;
  const auto source = test::open(test::source_file("models/tiny"));
  const std::string text = test::source_file("models/tiny/data/calibration.txt");
  const CalibrationSpec spec{text, 4, 64, 0};
  ThreadPool pool(2);
  const auto compressed = [&](double threshold) {
    const std::string out = folder.file(fmt::format("{}", threshold));
    const auto report = compress(
        *source,
        recipe_of({{"passes",
                    {{{"llm_int8", {{"format", "int8:row,outliers"}, {"threshold", threshold}}}}}},
                   {"calibration", to_json(spec)}}),
        out, pool);
    EXPECT_TRUE(report.ok()) << report.error().message;
    return test::open(out);
  };
  constexpr double kThreshold = 2.5;
  const auto some = compressed(kThreshold), none = compressed(1e6), all = compressed(1e-30);
  const auto stream =
      CalibrationStream::create(*source,
                                calibration_samples(spec, source->tokenizer_path()).value(), pool)
          .value();
  int64_t outliers = 0, columns = 0;
  for (const MatrixInfo& info : matrices_of(source->config())) {
    if (info.layer < 0) continue;
    const WeightMatrix matrix = test::matrix_of(*some, info);
    EXPECT_EQ(matrix.format().spec(), "int8:row,outliers");
    EXPECT_TRUE(outlier_columns(test::matrix_of(*none, info)).empty()) << info.name;
    EXPECT_EQ(test::matrix_of(*none, info).decode(),
              WeightMatrix::encode(parse_format("int8:row").value(),
                                   test::matrix_of(*source, info).decode().data(), info.rows,
                                   info.cols, info.name)
                  ->decode());
    // The source is bf16: with all columns in 16 bits it comes back.
    EXPECT_EQ(test::matrix_of(*all, info).decode(), test::matrix_of(*source, info).decode());
    outliers += static_cast<int64_t>(outlier_columns(matrix).size());
    columns += info.cols;
    // The first block's inputs to q, k and v are the source's own.
    if (info.layer > 0 || !info.name.ends_with("q_proj")) continue;
    std::vector<std::string> sharing;
    const auto stats = stream->collect(*source, 0, info.name, sharing).value();
    std::vector<int32_t> expected;
    for (size_t k = 0; k < stats->largest.size(); ++k) {
      if (double{stats->largest[k]} >= kThreshold) expected.push_back(static_cast<int32_t>(k));
    }
    EXPECT_EQ(outlier_columns(matrix), expected);
  }
  EXPECT_GT(outliers, 0);
  EXPECT_LT(outliers, columns);
}

TEST(LlmInt8, Refusals) {
  const auto message = [](const nlohmann::json& parameters) {
    const auto recipe = recipe_from_json({{"passes", {{{"llm_int8", parameters}}}}});
    EXPECT_FALSE(recipe.ok());
    return recipe.ok() ? "" : recipe.error().message;
  };
  EXPECT_THAT(message({{"format", "int8:row,outliers"}, {"threshold", 0}}),
              HasSubstr("threshold: must be a number above 0"));
  EXPECT_THAT(message(nlohmann::json::object()), HasSubstr("'format' is missing"));
  test::TemporaryFolder folder;
  const auto source = test::open(test::source_file("models/tiny"));
  ThreadPool pool(1);
  const auto report = compress(
      *source,
      recipe_of(
          {{"format", "int8:row"},
           {"method", "llm_int8"},
           {"calibration", {{"data", test::source_file("models/tiny/data/calibration.txt")}}}}),
      folder.file("out"), pool);
  ASSERT_FALSE(report.ok());
  EXPECT_THAT(report.error().message, HasSubstr("format int8:row has no place for outliers"));
}

}  // namespace
}  // namespace lathe
