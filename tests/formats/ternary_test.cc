// ternary:gN: scales that no other choice of weights beats, five digits to a byte, hostile bytes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "lathe/base/rng.h"
#include "lathe/formats/bits.h"
#include "lathe/formats/weight_matrix.h"

namespace lathe {
namespace {

using formats::pack_trits;
using formats::ternary_scale;
using formats::unpack_trits;
using ::testing::HasSubstr;

double error_with(const std::vector<float>& x, double scale) {
  double error = 0;
  for (const float value : x) {
    const double size = std::fabs(double{value});
    const double kept = size - scale;
    error += std::min(size * size, kept * kept);
  }
  return error;
}

TEST(Ternary, NoOtherScaleIsBetter) {
  Rng rng(5);
  for (int round = 0; round < 50; ++round) {
    std::vector<float> x;
    for (int i = 0; i < 64; ++i) {
      x.push_back(static_cast<float>(rng.normal() * (round % 3 == 0 ? rng.uniform() : 1)));
    }
    const double scale = ternary_scale(x.data(), 64);
    const double best = error_with(x, scale);
    for (double other = 0.02; other < 4; other += 0.02) {
      ASSERT_LE(best, error_with(x, other) * (1 + 1e-6)) << other << " instead of " << scale;
    }
  }
  const std::vector<float> zeros(16, 0.0f), same = {-2, 2, 2, -2};
  EXPECT_EQ(ternary_scale(zeros.data(), 16), 0.0f);
  EXPECT_EQ(ternary_scale(same.data(), 4), 2.0f);
}

TEST(Ternary, FiveDigitsToAByte) {
  for (int64_t cols = 0; cols <= 23; ++cols) {
    std::vector<uint8_t> codes, back(static_cast<size_t>(cols));
    for (int64_t k = 0; k < cols; ++k)
      codes.push_back(static_cast<uint8_t>(1 + (k * k + cols) % 3));
    std::vector<uint8_t> row(static_cast<size_t>((cols + 4) / 5) + 1, 0xee);
    pack_trits(codes.data(), cols, row.data());
    EXPECT_EQ(row.back(), 0xee) << cols;
    unpack_trits(row.data(), cols, back.data());
    EXPECT_EQ(back, codes) << cols;
  }
  // 2 + 0·3 + 1·9 + 2·27 + 1·81, and a last digit alone.
  const std::vector<uint8_t> codes = {3, 1, 2, 3, 2, 2};
  std::vector<uint8_t> row(2);
  pack_trits(codes.data(), 6, row.data());
  EXPECT_EQ(row, (std::vector<uint8_t>{146, 1}));
}

TEST(Ternary, BytesOfNoFiveDigitsAreRefused) {
  const FormatPtr format = parse_format("ternary:g32").value();
  const std::vector<float> weights(64, 0.5f);
  const WeightMatrix m = WeightMatrix::encode(format, weights.data(), 2, 32, "w").value();
  EXPECT_EQ(m.decode(), weights);
  EXPECT_EQ(m.parts()[0].size(), 14u);
  uint8_t* bytes = nullptr;
  const Bytes damaged = Bytes::allocate(14, &bytes);
  bytes[9] = 243;
  const auto read = WeightMatrix::create(format, 2, 32, {damaged, m.parts()[1]}, "w");
  ASSERT_FALSE(read.ok());
  EXPECT_THAT(read.error().message, HasSubstr("byte 9 of part 'weight.packed' is 243"));
}

TEST(Ternary, BadSpecs) {
  for (const char* spec : {"ternary", "ternary:g24", "ternary:g0", "ternary:g64,asym",
                           "ternary:g64,offset", "ternary:row"}) {
    EXPECT_FALSE(parse_format(spec).ok()) << spec;
  }
  EXPECT_NEAR(parse_format("ternary:g128").value()->bits_per_weight(64, 640), 1.725, 1e-9);
}

}  // namespace
}  // namespace lathe
