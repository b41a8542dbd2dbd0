// Rows from samples: which test is used, what it says, and the correction over a table.
#include <gtest/gtest.h>

#include <cmath>

#include "lathe/base/rng.h"
#include "lathe/eval/metrics/statistics.h"
#include "lathe/eval/task.h"

namespace lathe {
namespace {

class FixedTask : public Task {
 public:
  std::string name() const override { return "fixed"; }
  nlohmann::json parameters() const override { return nlohmann::json::object(); }
  std::vector<MetricDef> metrics() const override {
    using Kind = MetricDef::Kind;
    MetricDef corpus{"corpus", Kind::kCorpus, "", "", 1, "", "higher"};
    corpus.fields = {"hits", "tokens"};
    corpus.corpus = [](const auto& columns, std::span<const int64_t> rows) {
      double hits = 0, tokens = 0;
      for (const int64_t r : rows) {
        hits += columns[0][static_cast<size_t>(r)];
        tokens += columns[1][static_cast<size_t>(r)];
      }
      return 100 * hits / tokens;
    };
    corpus.extra = {{"signature", "x"}};
    return {{"right", Kind::kMean, "right", "", 100, "%", "higher"},
            {"f1", Kind::kMean, "f1", "", 100, "%", "higher"},
            {"ppl", Kind::kExpRatio, "nll", "tokens", 1, "", "lower"},
            {"share", Kind::kRatio, "hits", "tokens", 100, "%", "higher"},
            {"length", Kind::kMean, "tokens", "", 1, "tokens", ""},
            corpus};
  }
  Status prepare(const Engine&) override { return {}; }
  int64_t sample_count() const override { return 0; }
  std::vector<std::string> input_files() const override { return {}; }
  nlohmann::json preflight() const override { return nlohmann::json::object(); }
  Status run(const Engine&, const std::set<std::string>&, const SampleSink&) override { return {}; }
};

std::vector<Sample> samples(double drop) {
  Rng rng(7);
  std::vector<Sample> out;
  for (int i = 0; i < 300; ++i) {
    const double level = rng.uniform(), noise = 0.02 * rng.normal(),
                 tokens = 5 + std::floor(level * 9);
    Sample s;
    s.id = std::to_string(i);
    s.scores = {{"right", level - drop > 0.4 ? 1.0 : 0.0},
                {"f1", level - drop + (drop > 0 ? noise : 0)},
                {"nll", tokens * (2 + drop + (drop > 0 ? noise : 0))},
                {"tokens", tokens},
                {"hits", std::floor(tokens * level * (1 - drop))}};
    out.push_back(std::move(s));
  }
  return out;
}

const Measurement& row(const std::vector<Measurement>& rows, const std::string& metric) {
  for (const Measurement& m : rows) {
    if (m.metric == metric) return m;
  }
  throw std::runtime_error("no " + metric);
}

TEST(Aggregate, ComparesEachKindByItsTest) {
  const auto base = samples(0), worse = samples(0.1);
  const auto rows = aggregate(FixedTask(), worse, &base, 3);
  ASSERT_EQ(rows.size(), 6u);
  for (const char* metric : {"right", "f1", "ppl", "share", "corpus"}) {
    EXPECT_EQ(row(rows, metric).verdict, "worse") << metric;
    EXPECT_LT(*row(rows, metric).p_value, 0.01) << metric;
  }
  EXPECT_EQ(row(rows, "right").test, "mcnemar");
  EXPECT_EQ(*row(rows, "right").gained, 0);
  EXPECT_EQ(static_cast<double>(*row(rows, "right").lost) / 3, -*row(rows, "right").baseline_delta);
  EXPECT_LT(*row(rows, "right").decisive_n, 300);
  EXPECT_EQ(row(rows, "f1").test, "paired-bootstrap");
  EXPECT_NEAR(*row(rows, "f1").baseline_delta, -10, 1);
  EXPECT_EQ(*row(rows, "f1").decisive_n, 2);
  EXPECT_NEAR(*row(rows, "ppl").baseline_delta, std::exp(2.1) - std::exp(2.0), 0.05);
  EXPECT_EQ(row(rows, "corpus").extra["signature"], "x");
  EXPECT_TRUE(row(rows, "corpus").low);
  EXPECT_EQ(row(rows, "length").verdict, "");  // neither direction is better
}

// A corpus score that is a ratio, from the bootstrap's variance and from the ratio's own.
TEST(Aggregate, SaysHowManySamplesWouldDecideACorpusScore) {
  const auto base = samples(0), other = samples(0.01);
  const auto rows = aggregate(FixedTask(), other, &base, 3);
  ASSERT_TRUE(row(rows, "corpus").decisive_n && row(rows, "share").decisive_n);
  const auto n = static_cast<double>(*row(rows, "share").decisive_n);
  EXPECT_NEAR(static_cast<double>(*row(rows, "corpus").decisive_n), n, 2 + 0.1 * n);
}

TEST(Aggregate, FindsNoDifferenceWithItself) {
  const auto base = samples(0);
  for (const Measurement& m : aggregate(FixedTask(), base, &base, 3)) {
    if (m.metric == "length") continue;
    EXPECT_EQ(m.verdict, "=") << m.metric;
    EXPECT_EQ(*m.p_value, 1) << m.metric;
    EXPECT_FALSE(m.decisive_n) << m.metric;
  }
}

// Twenty right answers of twenty are no proof that there is no wrong one.
TEST(Aggregate, IntervalsOfOneKindOfAnswerHaveAWidth) {
  for (const double right : {0.0, 1.0}) {
    std::vector<Sample> same(20);
    for (size_t i = 0; i < same.size(); ++i) {
      same[i].id = std::to_string(i);
      same[i].scores = {{"right", right}, {"tokens", 1}};
    }
    const auto rows = aggregate(FixedTask(), same, nullptr, 3);
    const Interval wilson = wilson_interval(right > 0 ? 20 : 0, 20);
    EXPECT_EQ(*row(rows, "right").low, 100 * wilson.low);
    EXPECT_EQ(*row(rows, "right").high, 100 * wilson.high);
    EXPECT_EQ(row(rows, "right").extra["interval"], "wilson");
    EXPECT_EQ(*row(rows, "length").low, 1);  // a length is no answer
    EXPECT_EQ(*row(rows, "length").high, 1);
  }
}

TEST(Aggregate, RepeatsItsDigitsAndSurvivesJson) {
  const auto base = samples(0), other = samples(0.004);
  const auto once = aggregate(FixedTask(), other, &base, 5);
  const auto again = aggregate(FixedTask(), other, &base, 5);
  for (size_t i = 0; i < once.size(); ++i) {
    EXPECT_EQ(to_json(once[i]).dump(), to_json(again[i]).dump());
    EXPECT_EQ(to_json(measurement_from_json(to_json(once[i])).value()), to_json(once[i]));
  }
}

TEST(HolmCorrect, TakesBackVerdictsThatTheTableDoesNotBear) {
  std::vector<Measurement> rows(4);
  rows[0].p_value = 0.03, rows[0].verdict = "worse";
  rows[1].p_value = 0.001, rows[1].verdict = "better";
  rows[2].verdict = "=";  // no p-value: no comparison
  rows[3].p_value = 0.6, rows[3].verdict = "undecided";
  std::vector<Measurement*> all;
  for (auto& m : rows) all.push_back(&m);
  holm_correct(all);
  EXPECT_EQ(rows[0].verdict, "undecided");
  EXPECT_DOUBLE_EQ(*rows[0].p_holm, 0.06);
  EXPECT_EQ(rows[1].verdict, "better");
  EXPECT_DOUBLE_EQ(*rows[1].p_holm, 0.003);
  EXPECT_EQ(rows[2].verdict, "=");
  EXPECT_FALSE(rows[2].p_holm);
  EXPECT_DOUBLE_EQ(*rows[3].p_holm, 0.6);
}

TEST(HolmCorrect, SaysHowManySamplesTheTableWouldNeed) {
  std::vector<Measurement> rows(3);
  rows[0].p_value = 0.03, rows[0].verdict = "worse", rows[0].decisive_n = 500;
  rows[1].p_value = 0.001, rows[1].verdict = "worse", rows[1].decisive_n = 90;
  rows[2].p_value = 0.6, rows[2].verdict = "undecided", rows[2].decisive_n = 10000;
  std::vector<Measurement*> all = {&rows[0], &rows[1], &rows[2]};
  holm_correct(all);
  // One is decided and makes way: 2.5 % of both sides for each of the two that are left.
  EXPECT_EQ(*rows[0].decisive_n, *samples_for_comparisons(500, 2));
  EXPECT_GT(*rows[0].decisive_n, 550);
  EXPECT_EQ(*rows[1].decisive_n, 90);
  const auto once = rows;
  holm_correct(all);
  for (size_t i = 0; i < rows.size(); ++i) EXPECT_EQ(to_json(rows[i]), to_json(once[i]));
}

}  // namespace
}  // namespace lathe
