// More than 1,000 cases of each test against scipy, statsmodels and NumPy; the inputs are drawn as
// tools/oracles/eval_statistics_many.py draws them.
#include <gtest/gtest.h>

#include "eval/metric_golden.h"
#include "lathe/base/rng.h"
#include "lathe/eval/metrics/statistics.h"

namespace lathe {
namespace {

using Numbers = std::vector<double>;

const nlohmann::json& golden() {
  static const nlohmann::json file = read_golden("statistics_many.json");
  return file;
}

int64_t below(Rng& rng, uint64_t n) { return static_cast<int64_t>(rng.below(n)); }

TEST(McNemar, EqualsScipyInManyCases) {
  Rng rng(21);
  ASSERT_GE(golden()["mcnemar"].size(), 1000u);
  for (const auto& expected : golden()["mcnemar"]) {
    const auto most = 1 + rng.below(400);
    const int64_t b = below(rng, most), c = below(rng, most);
    const double p = expected.get<double>();
    EXPECT_NEAR(mcnemar_exact(b, c), p, 1e-11 * p) << b << " " << c;
  }
}

TEST(Holm, EqualsStatsmodelsInManyCases) {
  Rng rng(22);
  size_t cases = 0;
  for (const auto& expected : golden()["holm"]) {
    const auto scale = static_cast<double>(1 << (4 * below(rng, 4)));
    Numbers p(1 + rng.below(9));
    for (double& value : p) value = static_cast<double>(rng.below(1 << 20)) / (1 << 20) / scale;
    const Numbers adjusted = holm(p);
    ASSERT_EQ(adjusted.size(), expected.size());
    for (size_t i = 0; i < p.size(); ++i) {
      EXPECT_DOUBLE_EQ(adjusted[i], expected[i].get<double>());
    }
    cases += p.size();
  }
  EXPECT_GE(cases, 1000u);
}

TEST(Bootstrap, PairedHasTheDigitsOfNumPyInManyCases) {
  Rng rng(23);
  const int resamples = golden()["resamples"].get<int>();
  ASSERT_GE(golden()["paired"].size(), 1000u);
  uint64_t seed = 0;
  for (const auto& expected : golden()["paired"]) {
    Numbers base(2 + rng.below(19));
    for (double& value : base) value = static_cast<double>(rng.below(9)) / 8;
    Numbers variant;
    for (const double b : base) variant.push_back(b + static_cast<double>(below(rng, 5) - 2) / 8);
    const PairedDelta found = paired_bootstrap(base, variant, true, 0, seed++, resamples);
    EXPECT_NEAR(found.low, expected[0].get<double>(), 1e-15);
    EXPECT_NEAR(found.high, expected[1].get<double>(), 1e-15);
    EXPECT_DOUBLE_EQ(found.p_value, expected[2].get<double>());
  }
}

}  // namespace
}  // namespace lathe
