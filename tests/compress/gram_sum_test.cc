// XᵀX as it is summed up block by block, and what is made of it: the factor of its inverse.
#include "lathe/compress/gram_sum.h"

#include <cmath>
#include <limits>
#include <random>

#include "compress/compress_test_util.h"
#include "lathe/compress/column_solver.h"

namespace lathe {
namespace {

using ::testing::HasSubstr;

Tensor normal(int64_t rows, int64_t cols, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> draw;
  Tensor out(rows, cols);
  for (int64_t i = 0; i < out.size(); ++i) out.mutable_data()[i] = draw(random);
  return out;
}

std::shared_ptr<const LinearStats> sum_of(const std::vector<Tensor>& inputs, int threads,
                                          const std::string& products = "f32") {
  ThreadPool pool(threads);
  const auto ops = make_cpu_ops(chosen_isa().value(), pool, Math::kFast);
  int64_t tokens = 0;
  for (const Tensor& x : inputs) tokens += x.rows();
  GramSum sum(*ops, inputs[0].cols(), tokens, parse_format(products).value());
  for (const Tensor& x : inputs) sum.add(x);
  return sum.finish();
}

// `products`: what multiplies them, and rounds them first.
void expect_all_products(const std::string& products) {
  const auto rounded = [&](float x) {
    return double{products == "bf16" ? bf16_to_f32(f32_to_bf16(x)) : x};
  };
  // Blocks end at 512 columns and 2,016 tokens.
  for (const int64_t size : {1, 17, 512, 515, 1030}) {
    for (const std::vector<int64_t>& lengths :
         {std::vector<int64_t>{1}, {33, 7}, {1500, 1500, 11}}) {
      std::vector<Tensor> inputs;
      for (const int64_t length : lengths) {
        inputs.push_back(normal(length, size, static_cast<uint32_t>(size + length)));
      }
      const auto stats = sum_of(inputs, 2, products);
      ASSERT_EQ(stats->size, size);
      // A few rows in full: that of a block's beginning, middle and end.
      for (const int64_t i : {int64_t{0}, size / 2, std::min<int64_t>(size, 512) - 1, size - 1}) {
        double absolute = 0;
        float largest = 0;
        std::vector<double> row(static_cast<size_t>(size)), bound(row.size());
        int64_t tokens = 0;
        for (const Tensor& x : inputs) {
          for (int64_t t = 0; t < x.rows(); ++t, ++tokens) {
            absolute += std::fabs(double{x.row(t)[i]});
            largest = std::max(largest, std::fabs(x.row(t)[i]));
            for (int64_t j = 0; j < size; ++j) {
              const double product = rounded(x.row(t)[i]) * rounded(x.row(t)[j]);
              row[size_t(j)] += product;
              bound[size_t(j)] += std::fabs(product);
            }
          }
        }
        EXPECT_EQ(stats->tokens, tokens);
        EXPECT_NEAR(stats->absolute[size_t(i)], absolute, 1e-9 * absolute);
        EXPECT_EQ(stats->largest[size_t(i)], largest);
        for (int64_t j = 0; j < size; ++j) {
          ASSERT_NEAR(stats->gram[size_t(i * size + j)], row[size_t(j)],
                      1e-5 * bound[size_t(j)] + 1e-12)
              << size << " columns, " << tokens << " tokens: " << i << ", " << j;
          ASSERT_EQ(stats->gram[size_t(i * size + j)], stats->gram[size_t(j * size + i)]);
        }
      }
    }
  }
}

TEST(GramSum, IsTheSumOfAllProducts) { expect_all_products("f32"); }

TEST(GramSum, BfloatProductsRoundTheInputsAndNothingElse) {
  if (chosen_isa().value() != Isa::kAmx) GTEST_SKIP() << "needs AMX";
  expect_all_products("bf16");
}

TEST(GramSum, WhatCannotBeRoundedStaysInTheSums) {
  Tensor x = normal(10, 70, 6);
  x.mutable_row(3)[69] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_TRUE(std::isnan(sum_of({x}, 1, "bf16")->gram[69 * 70 + 69]));
}

TEST(GramSum, TheSameBitsOnAnyNumberOfThreadsAndInAnyPieces) {
  const Tensor all = normal(300, 600, 3);
  std::vector<Tensor> pieces;
  for (int64_t begin = 0; begin < 300; begin += 100) {
    Tensor piece(100, 600);
    std::copy_n(all.row(begin), piece.size(), piece.mutable_data());
    pieces.push_back(piece);
  }
  const auto one = sum_of({all}, 1);
  EXPECT_EQ(sum_of({all}, 3)->gram, one->gram);
  EXPECT_EQ(sum_of(pieces, 2)->gram, one->gram);
  EXPECT_EQ(sum_of(pieces, 2)->largest, one->largest);
}

// Uᵀ·U is the inverse of H, so that U·H·Uᵀ is the identity.
TEST(InverseFactor, OfEverySize) {
  for (const int64_t size : {1, 2, 63, 64, 65, 130, 200}) {
    const auto stats = sum_of({normal(3 * size + 4, size, static_cast<uint32_t>(size))}, 1);
    for (const bool act_order : {false, true}) {
      ThreadPool pool(2), three(3);
      const auto factor = inverse_factor(*stats, 0.01, act_order, pool);
      ASSERT_TRUE(factor.ok()) << factor.error().message;
      EXPECT_EQ(factor->damping, 0.01);
      EXPECT_EQ(inverse_factor(*stats, 0.01, act_order, three)->upper, factor->upper);
      double mean = 0;
      for (int64_t i = 0; i < size; ++i) {
        mean += stats->gram[size_t(i * size + i)] / static_cast<double>(size);
      }
      const auto h = [&](int64_t i, int64_t j) {
        const int64_t a = factor->order[size_t(i)], b = factor->order[size_t(j)];
        return stats->gram[size_t(a * size + b)] + (i == j ? 0.01 * mean : 0.0);
      };
      const auto u = [&](int64_t i, int64_t j) {
        return double{factor->upper[size_t(i * size + j)]};
      };
      for (const int64_t i : {int64_t{0}, size / 3, size - 1}) {
        std::vector<double> row(static_cast<size_t>(size));  // of U·H
        for (int64_t j = 0; j < size; ++j) {
          for (int64_t k = i; k < size; ++k) row[size_t(j)] += u(i, k) * h(k, j);
        }
        for (int64_t j = 0; j < size; ++j) {
          double sum = 0;
          for (int64_t k = j; k < size; ++k) sum += row[size_t(k)] * u(j, k);
          ASSERT_NEAR(sum, i == j ? 1 : 0, 2e-5) << size << ": " << i << ", " << j;
          if (j < i) {
            ASSERT_EQ(u(i, j), 0);
          }
        }
      }
    }
  }
}

TEST(InverseFactor, OneTokenIsSingularAndSolvedWithDamping) {
  const auto stats = sum_of({normal(1, 100, 5)}, 1);
  ThreadPool pool(1);
  const auto factor = inverse_factor(*stats, 0.01, true, pool);
  ASSERT_TRUE(factor.ok()) << factor.error().message;
  for (const float u : factor->upper) ASSERT_TRUE(std::isfinite(u));
}

TEST(InverseFactor, InputsThatAreNotFiniteOrAllZeroAreRefused) {
  ThreadPool pool(1);
  Tensor x = normal(10, 70, 6);
  x.mutable_row(3)[69] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THAT(inverse_factor(*sum_of({x}, 1), 0.01, true, pool).error().message,
              HasSubstr("not finite"));
  x.mutable_row(3)[69] = std::numeric_limits<float>::infinity();
  EXPECT_THAT(inverse_factor(*sum_of({x}, 1), 0.01, true, pool).error().message,
              HasSubstr("not finite"));
  std::fill_n(x.mutable_data(), x.size(), 0.0f);
  EXPECT_THAT(inverse_factor(*sum_of({x}, 1), 0.01, true, pool).error().message,
              HasSubstr("are zero"));
}

TEST(FactorCache, KeepsTheFactorOfTheLastInputOnly) {
  ThreadPool pool(1);
  const auto a = sum_of({normal(50, 20, 7)}, 1), b = sum_of({normal(50, 20, 8)}, 1);
  FactorCache cache(0.01, false);
  const auto first = cache.of(a, pool).value();
  EXPECT_EQ(cache.of(a, pool).value(), first);
  const auto other = cache.of(b, pool).value();
  EXPECT_NE(other->upper, first->upper);
  EXPECT_EQ(other->upper, inverse_factor(*b, 0.01, false, pool)->upper);
  EXPECT_EQ(cache.of(a, pool).value()->upper, first->upper);
}

}  // namespace
}  // namespace lathe
