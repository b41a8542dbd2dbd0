// Encoding rows at a time gives what encoding the matrix whole gives, for every format.
#include "lathe/formats/matrix_encoder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <random>

#include "lathe/base/threads.h"

namespace lathe {
namespace {

std::vector<float> normal(int64_t count) {
  std::mt19937 random(4);
  std::normal_distribution<float> draw;
  std::vector<float> out(static_cast<size_t>(count));
  for (float& x : out) x = draw(random);
  return out;
}

TEST(MatrixEncoder, GivesTheSameBytesAsTheWholeMatrix) {
  int by_rows = 0;
  for (const std::string& spec : example_formats()) {
    const FormatPtr format = parse_format(spec).value();
    for (const auto& [rows, cols] : {std::pair<int64_t, int64_t>{37, 512}, {9, 8192}}) {
      if (!format->can_encode() || !format->supports(rows, cols).ok()) continue;
      const std::vector<float> weights = normal(rows * cols);
      const auto whole = WeightMatrix::encode(format, weights.data(), rows, cols, "w");
      ASSERT_TRUE(whole.ok()) << spec << ": " << whole.error().message;
      auto encoder = MatrixEncoder::create(format, rows, cols, "w");
      ASSERT_TRUE(encoder.ok()) << spec << ": " << encoder.error().message;
      if (!encoder->by_rows()) continue;
      ++by_rows;
      // Backwards, and in parts of unequal size.
      for (const auto& [begin, end] :
           {std::pair<int64_t, int64_t>{7, rows}, {1, 7}, {0, 1}, {0, 0}}) {
        EXPECT_TRUE(encoder->encode(begin, end, weights.data() + begin * cols)) << spec;
      }
      if (encoder->decodes()) {
        std::vector<float> early(static_cast<size_t>(2 * cols)), late(early.size());
        encoder->decode(5, 7, early.data());
        whole->decode_rows(5, 7, late.data());
        EXPECT_EQ(early, late) << spec;
      }
      const auto made = encoder->finish("w");
      ASSERT_TRUE(made.ok()) << spec << ": " << made.error().message;
      for (size_t p = 0; p < made->parts().size(); ++p) {
        const auto a = made->parts()[p].span(), b = whole->parts()[p].span();
        EXPECT_TRUE(std::equal(a.begin(), a.end(), b.begin(), b.end())) << spec << " part " << p;
      }
    }
  }
  EXPECT_GT(by_rows, 20);
}

TEST(MatrixEncoder, CodeBooksWhoseBlocksCrossRowsAreNotForIt) {
  for (const char* spec : {"nf4:b64", "nf4:b64,dq", "fp4:b64"}) {
    const FormatPtr format = parse_format(spec).value();
    EXPECT_TRUE(MatrixEncoder::create(format, 4, 128, "w")->by_rows()) << spec;
    EXPECT_FALSE(MatrixEncoder::create(format, 4, 96, "w")->by_rows()) << spec;
  }
}

TEST(MatrixEncoder, WeightsThatAreNotFiniteAreToldOf) {
  for (const char* spec : {"int4:g128", "int8:row", "nf4:b64", "q4_0", "bf16"}) {
    std::vector<float> weights = normal(3 * 256);
    auto encoder = MatrixEncoder::create(parse_format(spec).value(), 3, 256, "w");
    ASSERT_TRUE(encoder.ok());
    EXPECT_TRUE(encoder->encode(0, 3, weights.data())) << spec;
    for (const float bad :
         {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
      weights[700] = bad;
      EXPECT_FALSE(encoder->encode(0, 3, weights.data())) << spec;
      EXPECT_TRUE(encoder->encode(0, 2, weights.data())) << spec;
    }
  }
}

TEST(MatrixEncoder, WhatTheFormatCannotHoldIsRefusedAtTheEnd) {
  std::vector<float> weights(64, 70000.0f);
  auto encoder = MatrixEncoder::create(parse_format("f16").value(), 1, 64, "w");
  EXPECT_TRUE(encoder->encode(0, 1, weights.data()));
  const auto made = encoder->finish("w");
  ASSERT_FALSE(made.ok());
  EXPECT_THAT(made.error().message, ::testing::HasSubstr("do not fit format f16"));
}

}  // namespace
}  // namespace lathe
