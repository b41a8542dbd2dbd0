// The sampler against an independent computation of the distribution that it should draw from.
#include "lathe/generate/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

namespace lathe {
namespace {

// By the definitions, on probabilities rather than logits, each step on what the one before left.
std::vector<double> expected(const std::vector<float>& logits, const SamplingOptions& o) {
  std::vector<double> p(logits.size());
  for (size_t i = 0; i < p.size(); ++i)
    p[i] = std::exp(static_cast<double>(logits[i]) / o.temperature);
  const auto normalise = [&] {
    const double sum = std::accumulate(p.begin(), p.end(), 0.0);
    for (double& x : p) x /= sum;
  };
  normalise();
  std::vector<size_t> order(p.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return p[a] > p[b]; });
  if (o.top_k > 0) {
    for (size_t r = static_cast<size_t>(o.top_k); r < order.size(); ++r) p[order[r]] = 0;
    normalise();
  }
  // The smallest set of the likeliest whose total reaches top_p.
  double before = 0;
  for (const size_t token : order) {
    const double own = p[token];
    if (o.top_p < 1 && before >= o.top_p) p[token] = 0;
    before += own;
  }
  normalise();
  const double most = *std::max_element(p.begin(), p.end());
  for (double& x : p) {
    if (x < o.min_p * most) x = 0;
  }
  normalise();
  return p;
}

const std::vector<float> kLogits = {1.0f, 3.0f, 2.5f, -1.0f, 0.5f, 2.9f, -3.0f, 1.8f, 0.0f, 2.0f};

class Distribution : public ::testing::TestWithParam<SamplingOptions> {};

TEST_P(Distribution, IsTheOneOfTheDefinition) {
  const SamplingOptions options = GetParam();
  ASSERT_TRUE(validate(options).ok());
  const std::vector<double> p = expected(kLogits, options);
  constexpr int kDraws = 100000;
  std::vector<int> counts(p.size());
  Rng rng(11);
  for (int i = 0; i < kDraws; ++i) {
    const int32_t token = sample(kLogits, options, rng);
    ASSERT_TRUE(token >= 0 && token < static_cast<int32_t>(p.size()));
    ++counts[static_cast<size_t>(token)];
  }
  double chi_square = 0;
  int degrees = -1;
  for (size_t i = 0; i < p.size(); ++i) {
    if (p[i] == 0) {
      EXPECT_EQ(counts[i], 0) << "token " << i << " was cut off";
      continue;
    }
    const double e = p[i] * kDraws;
    chi_square += (counts[i] - e) * (counts[i] - e) / e;
    ++degrees;
  }
  // Far beyond the 99.99 % quantile for up to 9 degrees of freedom (33.7); a fixed seed.
  EXPECT_LT(chi_square, degrees == 0 ? 1e-9 : 34) << degrees << " degrees of freedom";
}

INSTANTIATE_TEST_SUITE_P(
    Options, Distribution,
    ::testing::Values(SamplingOptions{1.0, 0, 1.0, 0.0}, SamplingOptions{0.5, 0, 1.0, 0.0},
                      SamplingOptions{2.0, 0, 1.0, 0.0}, SamplingOptions{1.0, 3, 1.0, 0.0},
                      SamplingOptions{1.0, 1, 1.0, 0.0}, SamplingOptions{1.0, 100, 1.0, 0.0},
                      SamplingOptions{1.0, 0, 0.5, 0.0}, SamplingOptions{1.0, 0, 0.9, 0.0},
                      SamplingOptions{1.0, 0, 0.01, 0.0}, SamplingOptions{1.0, 0, 1.0, 0.2},
                      SamplingOptions{1.0, 0, 1.0, 1.0}, SamplingOptions{0.7, 6, 0.8, 0.1},
                      SamplingOptions{1.3, 4, 0.95, 0.05},
                      // Min-p alone would keep five tokens, and top-p of those fewer than top-p of
                      // all: the order of the steps shows.
                      SamplingOptions{1.0, 0, 0.85, 0.3}));

// More candidates than the first rounds of the partial sort look at.
TEST(Sampler, FlatDistributionOfALargeVocabulary) {
  std::vector<float> logits(20000, 0.0f);
  for (size_t i = 0; i < logits.size(); i += 2) logits[i] = 1e-3f;
  Rng rng(3);
  // Half of the mass: even ids alone.
  for (int i = 0; i < 40; ++i) EXPECT_EQ(sample(logits, {1.0, 0, 0.5}, rng) % 2, 0);
}

TEST(Sampler, GreedyTakesTheFirstOfTheLargest) {
  Rng rng(1);
  EXPECT_EQ(sample(std::vector<float>{1, 5, 5, 2}, {}, rng), 1);
  EXPECT_EQ(sample(std::vector<float>{-1, -2}, {}, rng), 0);
}

TEST(Sampler, TiesGoToTheFirst) {
  Rng rng(1);
  const std::vector<float> equal(8, 1.0f);
  for (int i = 0; i < 200; ++i) EXPECT_LT(sample(equal, {1.0, 3, 1.0, 0.0}, rng), 3);
  for (int i = 0; i < 200; ++i) EXPECT_LT(sample(equal, {1.0, 0, 0.25, 0.0}, rng), 2);
}

TEST(Sampler, SeedsRepeatAndDiffer) {
  const auto draws = [](uint64_t seed) {
    Rng rng(seed);
    std::vector<int32_t> out;
    for (int i = 0; i < 64; ++i) out.push_back(sample(kLogits, {1.0, 0, 1.0, 0.0}, rng));
    return out;
  };
  EXPECT_EQ(draws(3), draws(3));
  EXPECT_NE(draws(3), draws(4));
}

TEST(Sampler, RefusesWhatMeansNothing) {
  const std::vector<std::pair<SamplingOptions, const char*>> cases = {
      {{-1, 0, 1, 0}, "temperature"},
      {{NAN, 0, 1, 0}, "temperature"},
      {{INFINITY, 0, 1, 0}, "temperature"},
      {{1, -1, 1, 0}, "top-k"},
      {{1, 0, 0, 0}, "top-p"},
      {{1, 0, 1.5, 0}, "top-p"},
      {{1, 0, NAN, 0}, "top-p"},
      {{1, 0, 1, -0.1}, "min-p"},
      {{1, 0, 1, 1.1}, "min-p"},
      {{1, 0, 1, NAN}, "min-p"}};
  for (const auto& [options, word] : cases) {
    const Status status = validate(options);
    ASSERT_FALSE(status.ok()) << word;
    EXPECT_EQ(status.error().code, ErrorCode::kBadInput);
    EXPECT_NE(status.error().message.find(word), std::string::npos) << status.error().message;
  }
}

}  // namespace
}  // namespace lathe
