// Sampling against its definition: all candidates sorted, cut, drawn.
#include "lathe/generate/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

namespace lathe {
namespace {

std::vector<float> logits_of(int64_t n, uint64_t seed) {
  Rng rng(seed);
  std::vector<float> x(static_cast<size_t>(n));
  for (float& v : x) v = static_cast<float>(3 * rng.normal());
  return x;
}

// Probability of each id that can be drawn.
std::map<int32_t, double> expected(const std::vector<float>& logits, const SamplingOptions& o) {
  std::vector<int32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
    return logits[static_cast<size_t>(a)] > logits[static_cast<size_t>(b)];
  });
  const double largest = logits[static_cast<size_t>(order[0])];
  const auto weight = [&](int32_t id) {
    return std::exp((logits[static_cast<size_t>(id)] - largest) / o.temperature);
  };
  if (o.min_p > 0) std::erase_if(order, [&](int32_t id) { return weight(id) < o.min_p; });
  if (o.top_k > 0 && o.top_k < static_cast<int64_t>(order.size())) {
    order.resize(static_cast<size_t>(o.top_k));
  }
  double total = 0, kept = 0;
  for (const int32_t id : order) total += weight(id);
  size_t count = 0;
  while (count < order.size() && (kept < o.top_p * total || count == 0)) {
    kept += weight(order[count++]);
  }
  order.resize(count);
  std::map<int32_t, double> out;
  for (const int32_t id : order) out[id] = weight(id) / kept;
  return out;
}

TEST(Sampler, DrawsFromTheRightDistribution) {
  const std::vector<SamplingOptions> all = {{1.0},
                                            {0.5},
                                            {1.0, 5},
                                            {1.0, 0, 0.5},
                                            {2.0, 0, 0.9},
                                            {1.0, 0, 1.0, 0.1},
                                            {0.8, 20, 0.7, 0.01}};
  const std::vector<float> logits = logits_of(300, 1);
  constexpr int kDraws = 20000;
  for (const SamplingOptions& o : all) {
    const std::map<int32_t, double> want = expected(logits, o);
    std::map<int32_t, int> seen;
    Rng rng(7);
    for (int i = 0; i < kDraws; ++i) ++seen[sample(logits, o, rng)];
    for (const auto& [id, count] : seen) {
      ASSERT_EQ(want.count(id), 1u) << "id " << id << " must not be drawn: top_k=" << o.top_k
                                    << " top_p=" << o.top_p << " min_p=" << o.min_p;
    }
    for (const auto& [id, p] : want) {
      const double sigma = std::sqrt(p * (1 - p) / kDraws);
      ASSERT_NEAR(seen[id] / double{kDraws}, p, 5 * sigma + 1e-4) << id;
    }
  }
}

// More candidates than the first rounds of the partial sort look at.
TEST(Sampler, FlatDistributionOfALargeVocabulary) {
  std::vector<float> logits(20000, 0.0f);
  for (size_t i = 0; i < logits.size(); i += 2) logits[i] = 1e-3f;
  Rng rng(3);
  // Half of the mass: even ids alone.
  for (int i = 0; i < 200; ++i) EXPECT_EQ(sample(logits, {1.0, 0, 0.5}, rng) % 2, 0);
}

TEST(Sampler, GreedyTakesTheFirstOfTheLargest) {
  for (const int64_t n : {1, 2, 15, 16, 17, 33, 1000}) {
    std::vector<float> logits = logits_of(n, static_cast<uint64_t>(n));
    const auto want = std::max_element(logits.begin(), logits.end()) - logits.begin();
    Rng rng(0);
    EXPECT_EQ(sample(logits, {}, rng), want) << n;
    logits.assign(static_cast<size_t>(n), -1.0f);
    EXPECT_EQ(sample(logits, {}, rng), 0) << n;
  }
  const std::vector<float> nothing(40, NAN);
  Rng rng(0);
  EXPECT_EQ(sample(nothing, {}, rng), 0);
  EXPECT_EQ(sample(nothing, {1.0}, rng), 0);
}

}  // namespace
}  // namespace lathe
