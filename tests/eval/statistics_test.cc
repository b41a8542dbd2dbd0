#include "lathe/eval/metrics/statistics.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "eval/metric_golden.h"
#include "lathe/base/rng.h"

namespace lathe {
namespace {

using Numbers = std::vector<double>;

const nlohmann::json& golden() {
  static const nlohmann::json file = read_golden("statistics.json");
  return file;
}

Numbers numbers(const char* name) { return golden()[name].get<Numbers>(); }

void expect_near(double low, double high, const nlohmann::json& expected, double tolerance) {
  EXPECT_NEAR(low, expected[0].get<double>(), tolerance);
  EXPECT_NEAR(high, expected[1].get<double>(), tolerance);
}

// The digits are a promise: the same scores and seed give the same interval everywhere.
TEST(Bootstrap, HasTheDigitsOfItsDefinition) {
  const int resamples = golden()["resamples"].get<int>();
  for (const auto& row : golden()["exact"]) {
    const auto seed = row["seed"].get<uint64_t>();
    const Interval m = bootstrap_mean(numbers("scores"), seed, resamples);
    expect_near(m.low, m.high, row["mean"], 1e-12);
    const PairedDelta p =
        paired_bootstrap(numbers("base"), numbers("variant"), true, 0, seed, resamples);
    expect_near(p.low, p.high, row["paired"], 1e-14);
    const Interval r = bootstrap_ratio(numbers("losses"), numbers("tokens"), seed, resamples);
    expect_near(r.low, r.high, row["ratio"], 1e-13);
    const PairedDelta pr = paired_ratio(numbers("losses"), numbers("other"), numbers("tokens"),
                                        false, 0, seed, resamples);
    expect_near(pr.low, pr.high, row["paired_ratio"], 1e-13);
    const PairedDelta pp = paired_perplexity(numbers("losses"), numbers("other"), numbers("tokens"),
                                             0, seed, resamples);
    expect_near(pp.low, pp.high, row["paired_perplexity"], 1e-11);
    EXPECT_EQ(pp.verdict, pr.verdict);
    const Interval ppl =
        bootstrap_perplexity(numbers("losses"), numbers("tokens"), seed, resamples);
    EXPECT_EQ(ppl.low, std::exp(r.low));
    EXPECT_EQ(ppl.high, std::exp(r.high));
  }
}

TEST(Bootstrap, ComesCloseToNumPyWithItsOwnGenerator) {
  const auto& close = golden()["close"];
  const int resamples = 100000;
  // Tolerance: the ends of 100,000 resamples have a standard error of about 0.8 % of the standard
  // deviation; an interval is four of those wide, so 1 % of the width is five standard errors.
  const auto check = [](double low, double high, const nlohmann::json& expected) {
    const double width = expected[1].get<double>() - expected[0].get<double>();
    expect_near(low, high, expected, 0.0125 * width);
  };
  const Interval m = bootstrap_mean(numbers("scores"), 5, resamples);
  check(m.low, m.high, close["mean"]);
  const Interval r = bootstrap_ratio(numbers("losses"), numbers("tokens"), 5, resamples);
  check(r.low, r.high, close["ratio"]);
  const PairedDelta pr =
      paired_ratio(numbers("losses"), numbers("other"), numbers("tokens"), false, 0, 5, resamples);
  check(pr.low, pr.high, close["paired_ratio"]);
  // These differences of 0/1 scores move in steps of 1/40, and so do quantiles.
  const PairedDelta p =
      paired_bootstrap(numbers("base"), numbers("variant"), true, 0, 5, resamples);
  expect_near(p.low, p.high, close["paired"], 1e-12);
}

TEST(Bootstrap, GeneralFormAgreesWithTheMean) {
  const Numbers scores = numbers("scores");
  const auto statistic = [&](std::span<const int64_t> indices) {
    double total = 0;
    for (const int64_t i : indices) total += scores[static_cast<size_t>(i)];
    return total / static_cast<double>(indices.size());
  };
  const Interval general = bootstrap(std::ssize(scores), statistic, 42, 500);
  const Interval direct = bootstrap_mean(scores, 42, 500);
  EXPECT_EQ(general.low, direct.low);
  EXPECT_EQ(general.high, direct.high);
}

TEST(Bootstrap, SeedsMatterAndRepeat) {
  const Numbers scores = numbers("scores");
  const Interval a = bootstrap_mean(scores, 1), b = bootstrap_mean(scores, 1);
  const Interval c = bootstrap_mean(scores, 2);
  EXPECT_EQ(a.low, b.low);
  EXPECT_EQ(a.high, b.high);
  EXPECT_NE(a.low, c.low);
  EXPECT_LT(a.low, mean(scores));
  EXPECT_GT(a.high, mean(scores));
}

TEST(Bootstrap, KnowsWhenItKnowsNothing) {
  const Numbers one = {3.0};
  EXPECT_FALSE(bootstrap_mean(one, 0).known());
  EXPECT_FALSE(bootstrap_ratio(one, one, 0).known());
  EXPECT_FALSE(bootstrap_perplexity(one, one, 0).known());
  EXPECT_EQ(paired_bootstrap(one, Numbers{4.0}, true, 0, 0).verdict, "undecided");
  EXPECT_EQ(paired_bootstrap(one, one, true, 0, 0).verdict, "=");
  const Numbers constant(7, 0.1);
  EXPECT_NEAR(bootstrap_mean(constant, 0).low, 0.1, 1e-16);
  EXPECT_NEAR(bootstrap_mean(constant, 0).high, 0.1, 1e-16);
}

// Of the intervals of many samples from a known distribution, 95 % should contain its mean; and of
// comparisons between equals, 5 % come out as decided.
TEST(Bootstrap, CoversTheTruthAsOftenAsItSays) {
  const int trials = 2000, resamples = 250;
  const size_t n = 100;
  for (const double p : {0.3, 0.5, 0.8}) {
    Rng rng(static_cast<uint64_t>(p * 1000));
    int covered = 0, false_alarms = 0;
    for (int t = 0; t < trials; ++t) {
      Numbers a(n), b(n);
      for (size_t i = 0; i < n; ++i) {
        a[i] = rng.uniform() < p ? 1 : 0;
        b[i] = rng.uniform() < p ? 1 : 0;
      }
      const auto seed = static_cast<uint64_t>(t);
      const Interval m = bootstrap_mean(a, seed, resamples);
      covered += m.low <= p && p <= m.high ? 1 : 0;
      const auto verdict = paired_bootstrap(a, b, true, 0, seed, resamples).verdict;
      false_alarms += verdict == "better" || verdict == "worse" ? 1 : 0;
    }
    // Binomial error of 2,000 trials: 0.5 %. The percentile bootstrap is a little narrow at n =
    // 100, and the steps of 0/1 scores move its coverage by up to 2 %.
    EXPECT_GE(covered, trials * 0.925) << p;
    EXPECT_LE(covered, trials * 0.97) << p;
    EXPECT_GE(false_alarms, trials * 0.03) << p;
    EXPECT_LE(false_alarms, trials * 0.075) << p;
  }
}

TEST(Verdict, FollowsItsTable) {
  struct Case {
    bool identical;
    Interval interval;
    bool higher_is_better;
    double margin;
    const char* verdict;
  };
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const Case cases[] = {
      {true, {0, 0}, true, 0, "="},
      {true, {nan, nan}, true, 0, "="},
      {false, {nan, nan}, true, 1, "undecided"},
      {false, {0.1, 2}, true, 0, "better"},
      {false, {0.1, 2}, false, 0, "worse"},
      {false, {-2, -0.1}, true, 0, "worse"},
      {false, {-2, -0.1}, false, 0, "better"},
      {false, {-1, 2}, true, 0, "undecided"},
      {false, {0, 2}, true, 0, "undecided"},
      {false, {-2, 0}, true, 0, "undecided"},
      {false, {0, 0}, true, 0, "undecided"},
      {false, {-0.4, 0.3}, true, 0.5, "="},
      {false, {-0.5, 0.5}, true, 0.5, "="},
      {false, {0.1, 0.4}, true, 0.5, "="},
      {false, {-0.4, -0.1}, false, 0.5, "="},
      {false, {0.1, 0.6}, true, 0.5, "better"},
      {false, {-0.6, 0.4}, true, 0.5, "undecided"},
  };
  for (const Case& c : cases) {
    EXPECT_EQ(decide(c.identical, c.interval, c.higher_is_better, c.margin), c.verdict)
        << c.interval.low << " … " << c.interval.high << " margin " << c.margin;
  }
}

TEST(Verdict, OfScores) {
  const int n = 200;
  Numbers base(n), same(n), lower(n), noisy(n);
  Rng rng(3);
  for (size_t i = 0; i < n; ++i) {
    base[i] = rng.uniform();
    same[i] = base[i];
    lower[i] = base[i] - 0.1 + 0.02 * rng.normal();
    noisy[i] = base[i] + 0.2 * rng.normal();
  }
  const PairedDelta equal = paired_bootstrap(base, same, true, 0, 0);
  EXPECT_EQ(equal.verdict, "=");
  EXPECT_EQ(equal.delta, 0);
  EXPECT_EQ(equal.low, 0);
  EXPECT_EQ(equal.high, 0);
  const PairedDelta worse = paired_bootstrap(base, lower, true, 0, 0);
  EXPECT_EQ(worse.verdict, "worse");
  EXPECT_NEAR(worse.delta, -0.1, 0.01);
  // Paired: far narrower than the spread of the scores themselves would allow.
  EXPECT_LT(worse.high - worse.low, 0.01);
  EXPECT_EQ(paired_bootstrap(base, lower, false, 0, 0).verdict, "better");
  EXPECT_EQ(paired_bootstrap(base, lower, true, 0.2, 0).verdict, "=");
  EXPECT_EQ(paired_bootstrap(base, noisy, true, 0, 0).verdict, "undecided");
}

TEST(PairedPerplexity, SeesWhatTheSpreadOfTheTextHides) {
  const Numbers losses = numbers("losses"), tokens = numbers("tokens");
  Numbers worse = losses;
  for (double& l : worse) l *= 1.01;
  const PairedDelta d = paired_perplexity(losses, worse, tokens, 0, 0);
  const double before = std::exp(std::accumulate(losses.begin(), losses.end(), 0.0) /
                                 std::accumulate(tokens.begin(), tokens.end(), 0.0));
  EXPECT_EQ(d.verdict, "worse");
  EXPECT_NEAR(d.delta, std::pow(before, 1.01) - before, 1e-9);
  EXPECT_GT(d.low, 0);
  EXPECT_EQ(paired_perplexity(losses, worse, tokens, 0.1, 0).verdict, "=");
  EXPECT_EQ(paired_perplexity(worse, losses, tokens, 0, 0).verdict, "better");
  const PairedDelta same = paired_perplexity(losses, losses, tokens, 0, 0);
  EXPECT_EQ(same.verdict, "=");
  EXPECT_EQ(same.delta, 0);
  EXPECT_EQ(same.high, 0);
}

TEST(Quantile, IsNumPys) {
  Numbers sorted = numbers("scores");
  std::sort(sorted.begin(), sorted.end());
  for (const auto& pair : golden()["quantiles"]) {
    EXPECT_NEAR(quantile_of_sorted(sorted, pair[0].get<double>()), pair[1].get<double>(), 1e-12);
  }
  EXPECT_EQ(quantile_of_sorted(Numbers{4}, 0.3), 4);
}

TEST(McNemar, IsExact) {
  for (const auto& row : golden()["mcnemar"]) {
    const double expected = row[2].get<double>();
    EXPECT_NEAR(mcnemar_exact(row[0].get<int64_t>(), row[1].get<int64_t>()), expected,
                1e-10 * expected)
        << row;
  }
}

TEST(McNemar, EqualsScipyAndStatsmodels) {
  for (const auto& row : golden()["mcnemar_packages"]) {
    const double ours = mcnemar_exact(row[0].get<int64_t>(), row[1].get<int64_t>());
    for (const size_t column : {2u, 3u}) {
      EXPECT_NEAR(ours, row[column].get<double>(), 1e-9 * ours) << row;
    }
  }
}

TEST(McNemar, DecidesRightAndWrong) {
  const auto scores = [](int both, int only_first, int only_second) {
    std::pair<Numbers, Numbers> out;
    for (int i = 0; i < both; ++i) out.first.push_back(1), out.second.push_back(1);
    for (int i = 0; i < only_first; ++i) out.first.push_back(1), out.second.push_back(0);
    for (int i = 0; i < only_second; ++i) out.first.push_back(0), out.second.push_back(1);
    return out;
  };
  // Five against none: the bootstrap's interval excludes 0, the exact test (p = 0.0625) does not
  // decide.
  const auto [a, b] = scores(50, 5, 0);
  EXPECT_EQ(paired_bootstrap(a, b, true, 0, 0).verdict, "worse");
  const PairedDelta five = paired_right_wrong(a, b, true, 0, 0);
  EXPECT_EQ(five.verdict, "undecided");
  EXPECT_EQ(five.p_value, 0.0625);
  const auto [c, d] = scores(50, 2, 12);
  EXPECT_EQ(paired_right_wrong(c, d, true, 0, 0).verdict, "better");
  EXPECT_EQ(paired_right_wrong(d, c, true, 0, 0).verdict, "worse");
  EXPECT_EQ(paired_right_wrong(c, d, false, 0, 0).verdict, "worse");
  EXPECT_EQ(paired_right_wrong(c, c, true, 0, 0).verdict, "=");
  EXPECT_EQ(paired_right_wrong(c, c, true, 0, 0).p_value, 1);
}

TEST(PairedBootstrap, HasAPValueThatAgreesWithItsInterval) {
  Rng rng(9);
  for (int trial = 0; trial < 200; ++trial) {
    Numbers a(60), b(60);
    const double shift = 0.12 * rng.normal();
    for (size_t i = 0; i < a.size(); ++i) {
      a[i] = rng.normal();
      b[i] = a[i] + shift + 0.3 * rng.normal();
    }
    const PairedDelta d = paired_bootstrap(a, b, true, 0, 1, 2000);
    EXPECT_GE(d.p_value, 2.0 / 2001);
    EXPECT_LE(d.p_value, 1);
    // The two may differ by one resample at the very edge.
    if (d.p_value < 0.049) {
      EXPECT_NE(d.verdict, "undecided") << d.p_value;
    }
    if (d.p_value > 0.052) {
      EXPECT_EQ(d.verdict, "undecided") << d.p_value;
    }
  }
}

TEST(PairedStatistic, AgreesWithTheMeansOwn) {
  const Numbers a = numbers("losses"), b = numbers("other");
  const auto mean_of = [](const Numbers& v) {
    return [&v](std::span<const int64_t> rows) {
      double total = 0;
      for (const int64_t i : rows) total += v[static_cast<size_t>(i)];
      return total / static_cast<double>(rows.size());
    };
  };
  const PairedDelta direct = paired_bootstrap(a, b, false, 0, 4, 500);
  const PairedDelta general =
      paired_statistic(std::ssize(a), mean_of(a), mean_of(b), false, false, 0, 4, 500);
  EXPECT_NEAR(general.delta, direct.delta, 1e-12);
  EXPECT_NEAR(general.low, direct.low, 1e-12);
  EXPECT_NEAR(general.high, direct.high, 1e-12);
  EXPECT_EQ(general.verdict, direct.verdict);
  EXPECT_EQ(general.p_value, direct.p_value);
}

TEST(Holm, EqualsStatsmodels) {
  for (const auto& row : golden()["holm"]) {
    const auto p = row[0].get<Numbers>(), expected = row[1].get<Numbers>();
    const Numbers ours = holm(p);
    for (size_t i = 0; i < p.size(); ++i) EXPECT_NEAR(ours[i], expected[i], 1e-12);
  }
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const Numbers gaps = holm(Numbers{0.02, nan, 0.01});
  EXPECT_EQ(gaps[0], 0.02);
  EXPECT_TRUE(std::isnan(gaps[1]));
  EXPECT_EQ(gaps[2], 0.02);
  EXPECT_TRUE(holm(Numbers{}).empty());
}

TEST(SamplesToDecide, EqualsStatsmodels) {
  for (const auto& row : golden()["decisive"]) {
    EXPECT_EQ(samples_to_decide(row[0].get<double>(), row[1].get<double>()), row[2].get<int64_t>());
  }
  for (const auto& row : golden()["decisive_right_wrong"]) {
    EXPECT_EQ(samples_to_decide_right_wrong(row[0].get<double>(), row[1].get<double>()),
              row[2].get<int64_t>());
  }
  EXPECT_FALSE(samples_to_decide(0, 1));
  EXPECT_FALSE(samples_to_decide(1e-9, 1));
  EXPECT_FALSE(samples_to_decide_right_wrong(0.1, 0.1));
}

TEST(SamplesForComparisons, FollowsStatsmodelsAtTheStricterLevel) {
  for (const auto& row : golden()["decisive_comparisons"]) {
    const auto alone = samples_to_decide(row[0].get<double>(), row[1].get<double>());
    const auto ours = samples_for_comparisons(alone.value(), row[2].get<int64_t>());
    // `alone` is rounded up already.
    EXPECT_NEAR(static_cast<double>(*ours), row[3].get<double>(), 3) << row;
  }
  EXPECT_EQ(samples_for_comparisons(77, 1), 77);
  EXPECT_FALSE(samples_for_comparisons(999'000'000, 10));
}

TEST(NormalQuantile, EqualsScipys) {
  for (const auto& row : golden()["normal_quantiles"]) {
    EXPECT_NEAR(normal_quantile(row[0].get<double>()), row[1].get<double>(), 1e-12) << row;
  }
}

TEST(Wilson, SolvesItsEquation) {
  for (const auto& row : golden()["wilson"]) {
    const Interval w = wilson_interval(row[0].get<int64_t>(), row[1].get<int64_t>());
    expect_near(w.low, w.high, row[2], 1e-12);
    EXPECT_GE(w.low, 0);
    EXPECT_LE(w.high, 1);
  }
}

// Its coverage needs no simulation: the binomial probabilities of the counts whose interval has p.
TEST(Wilson, CoversTheTruthAsOftenAsItSays) {
  const int64_t n = 100;
  for (const double p : {0.1, 0.3, 0.5, 0.8, 0.95}) {
    double coverage = 0;
    for (int64_t k = 0; k <= n; ++k) {
      const Interval w = wilson_interval(k, n);
      if (p < w.low || p > w.high) continue;
      const auto x = static_cast<double>(k), m = static_cast<double>(n);
      coverage += std::exp(std::lgamma(m + 1) - std::lgamma(x + 1) - std::lgamma(m - x + 1) +
                           x * std::log(p) + (m - x) * std::log(1 - p));
    }
    EXPECT_GT(coverage, 0.93) << p;
    EXPECT_LT(coverage, 0.975) << p;
  }
}

}  // namespace
}  // namespace lathe
