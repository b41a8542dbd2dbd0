// ggml's block types against the Python package gguf: bit for bit.
#include "lathe/formats/gguf_types.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <set>

#include "golden.h"
#include "lathe/base/hash.h"
#include "lathe/base/rng.h"
#include "lathe/base/threads.h"
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

double weighted_error(const std::vector<float>& want, const std::vector<float>& got,
                      const std::vector<float>& importance) {
  double sum = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    const double e = double{got[i]} - want[i];
    sum += e * e * (importance.empty() ? 1.0 : importance[i % importance.size()]);
  }
  return sum;
}

// Columns whose importance differs by orders of magnitude, weights with outliers.
class WeightedGguf : public testing::TestWithParam<std::string> {
 protected:
  static constexpr int64_t kRows = 24, kCols = 512;
  WeightedGguf() {
    Rng rng(11);
    for (int64_t i = 0; i < kRows * kCols; ++i) {
      w_.push_back(static_cast<float>(0.02 * rng.normal() * (rng.below(50) ? 1 : 6)));
    }
    for (int64_t k = 0; k < kCols; ++k) {
      importance_.push_back(static_cast<float>(std::exp(2 * rng.normal())));
    }
  }
  Result<WeightMatrix> fit(const std::vector<float>& w, const float* importance, int threads = 1) {
    ThreadPool pool(threads);
    return encode_weighted(format_, w.data(), kRows, kCols, importance, "w", pool);
  }

  FormatPtr format_ = parse_format(GetParam()).value();
  std::vector<float> w_, importance_;
};

TEST_P(WeightedGguf, SearchingBeatsNotSearchingAndImportanceCounts) {
  const auto plain = WeightMatrix::encode(format_, w_.data(), kRows, kCols, "w").value().decode();
  const auto searched = fit(w_, nullptr).value().decode();
  const auto weighted = fit(w_, importance_.data()).value().decode();
  EXPECT_LE(weighted_error(w_, searched, {}), weighted_error(w_, plain, {}));
  EXPECT_LT(weighted_error(w_, weighted, importance_),
            0.95 * weighted_error(w_, searched, importance_));
  EXPECT_GT(weighted_error(w_, weighted, {}), weighted_error(w_, searched, {}));
}

TEST_P(WeightedGguf, BytesDoNotDependOnThreads) {
  const auto one = fit(w_, importance_.data()).value(),
             three = fit(w_, importance_.data(), 3).value();
  EXPECT_TRUE(std::ranges::equal(one.parts()[0].span(), three.parts()[0].span()));
}

TEST_P(WeightedGguf, EqualImportancesAreNoImportances) {
  const std::vector<float> same(kCols, 1.0f), none(kCols, 0.0f);
  const double want = weighted_error(w_, fit(w_, nullptr).value().decode(), {});
  EXPECT_EQ(weighted_error(w_, fit(w_, same.data()).value().decode(), {}), want);
  EXPECT_EQ(weighted_error(w_, fit(w_, none.data()).value().decode(), {}), want);
}

TEST_P(WeightedGguf, ColumnsOfNoImportanceStayNearTheirWeights) {
  for (size_t k = 0; k < importance_.size(); k += 2) importance_[k] = 0;
  const auto got = fit(w_, importance_.data()).value().decode();
  for (size_t i = 0; i < w_.size(); ++i) ASSERT_LT(std::fabs(got[i] - w_[i]), 0.5f) << i;
}

TEST_P(WeightedGguf, RefusesWhatCannotBe) {
  std::vector<float> bad = w_;
  bad[700] = NAN;
  EXPECT_NE(fit(bad, nullptr).error().message.find("weight [1, 188] is nan"), std::string::npos);
  bad[700] = 3e38f;
  EXPECT_NE(fit(bad, nullptr).error().message.find("do not fit format " + GetParam()),
            std::string::npos);
  for (const float value : {-1.0f, NAN, INFINITY}) {
    importance_[3] = value;
    EXPECT_NE(fit(w_, importance_.data()).error().message.find("importance of column 3"),
              std::string::npos);
  }
}

TEST_P(WeightedGguf, TinyAndEqualWeightsDecodeToFiniteNumbersNearby) {
  for (const float scale : {1e-30f, 1e-7f, 1e-3f, 100.0f}) {
    std::vector<float> w = w_;
    for (float& x : w) x *= scale;
    for (size_t i = 0; i < 256; ++i) w[i] = 0;
    for (size_t i = 256; i < 512; ++i) w[i] = scale;
    for (size_t i = 512; i < 1024; ++i) w[i] = -std::fabs(w[i]);
    const auto matrix = fit(w, importance_.data());
    ASSERT_TRUE(matrix.ok()) << matrix.error().message;
    const auto got = matrix->decode();
    for (size_t i = 0; i < 256; ++i) ASSERT_EQ(got[i], 0.0f);
    for (size_t i = 256; i < 512 && scale > 1e-4f; ++i) ASSERT_NEAR(got[i], scale, 0.02f * scale);
  }
}

INSTANTIATE_TEST_SUITE_P(Types, WeightedGguf,
                         testing::Values("q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "q2_k", "q3_k",
                                         "q4_k", "q5_k", "q6_k", "iq4_nl"),
                         [](const auto& info) { return info.param; });

TEST(Gguf, OnlyItsOwnTypesAreSearched) {
  const std::vector<float> w(64, 0.5f);
  ThreadPool pool(1);
  const auto matrix =
      encode_weighted(parse_format("int4:g32").value(), w.data(), 1, 64, nullptr, "up", pool);
  ASSERT_FALSE(matrix.ok());
  EXPECT_EQ(matrix.error().message, "up: format int4:g32 is not one of the ggml block types");
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
