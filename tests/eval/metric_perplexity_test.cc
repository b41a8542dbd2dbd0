#include "lathe/eval/metrics/perplexity.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "eval/metric_golden.h"

namespace lathe {
namespace {

// The made-up losses of tools/oracles/eval_windows.py.
double loss_of(int64_t token) { return 1 + static_cast<double>(token * 37 % 101) / 101; }

PerplexityPlan plan_of(const nlohmann::json& row) {
  PerplexityPlan plan{parse_perplexity_convention(row["convention"].get<std::string>()).value()};
  plan.window = row["window"].get<int64_t>();
  plan.stride = row.value("stride", int64_t{1});
  plan.add_bos = row.value("add_bos", false);
  return plan;
}

TEST(PerplexityWindows, EqualTheReferenceForManyLengths) {
  const auto golden = read_golden("perplexity_windows.json");
  EXPECT_EQ(golden["rows"].size(), 250u);
  for (const auto& row : golden["rows"]) {
    const auto windows = plan_windows(row["n"].get<int64_t>(), plan_of(row));
    ASSERT_TRUE(windows.ok()) << row << windows.error().message;
    nlohmann::json fed = nlohmann::json::array(), scored = fed, weights = fed;
    LossTotals totals;
    for (const TokenWindow& w : *windows) {
      // What the oracle lists of a window: the first and last token fed (-1 is BOS), how many.
      const int64_t first = w.bos == WindowBos::kNone ? w.begin : -1;
      const int64_t last = w.fed() == 1 ? first : w.end - 2;
      fed.push_back({first, last, w.fed()});
      scored.push_back({w.score_from, w.end - 1, w.scored()});
      weights.push_back(w.weight);
      double sum = 0;
      for (int64_t i = w.score_from; i < w.end; ++i) sum += loss_of(i);
      totals.add(w, sum);
    }
    EXPECT_EQ(fed, row["fed"]) << row;
    EXPECT_EQ(scored, row["scored"]) << row;
    EXPECT_EQ(weights, row["weights"]) << row;
    if (!row["perplexity"].is_null()) {
      EXPECT_NEAR(totals.perplexity(), row["perplexity"].get<double>(), 1e-12) << row;
    }
  }
}

TEST(PerplexityWindows, CountEachTokenAtMostOnceAndNeverFeedTooMany) {
  using enum PerplexityConvention;
  for (const auto convention : {kPapers, kHfStride, kLlamaCpp, kLmEval}) {
    for (int64_t n : {64, 65, 100, 127, 128, 129, 1000}) {
      const PerplexityPlan plan{convention, 32, 20, true};
      const auto windows = plan_windows(n, plan);
      ASSERT_TRUE(windows.ok());
      std::vector<int> counted(static_cast<size_t>(n));
      for (const TokenWindow& w : *windows) {
        EXPECT_GE(w.begin, 0);
        EXPECT_LE(w.end, n);
        EXPECT_GE(w.score_from, w.begin + (w.bos == WindowBos::kPrepend ? 0 : 1));
        EXPECT_LE(w.fed(), 32);
        for (int64_t i = w.score_from; i < w.end; ++i) ++counted[static_cast<size_t>(i)];
      }
      const auto once = std::count(counted.begin(), counted.end(), 1);
      const auto never = std::count(counted.begin(), counted.end(), 0);
      EXPECT_EQ(once + never, n) << to_string(convention) << " counts a token twice";
      // hf-stride leaves out the first token, and a last window with a single new token.
      const int64_t least = convention == kPapers     ? n / 32 * 31
                            : convention == kLlamaCpp ? n / 32 * 15
                            : convention == kLmEval   ? n
                                                      : n - 2;
      const int64_t most = convention == kHfStride ? n - 1 : least;
      EXPECT_GE(once, least) << to_string(convention);
      EXPECT_LE(once, most) << to_string(convention);
    }
  }
}

TEST(PerplexityWindows, RefuseWhatMakesNoSense) {
  using enum PerplexityConvention;
  struct Case {
    PerplexityPlan plan;
    int64_t n;
    const char* says;
  };
  const Case cases[] = {
      {{kPapers, 2048}, 2047, "has 2047 tokens, 2048 are needed"},
      {{kPapers, 1}, 100, "window 1 is too small"},
      {{kHfStride, 8, 4}, 1, "has 1 tokens, 2 are needed"},
      {{kHfStride, 8, 9}, 100, "stride 9 does not fit window 8"},
      {{kHfStride, 8, 0}, 100, "stride 0 does not fit window 8"},
      {{kLlamaCpp, 512}, 1023, "has 1023 tokens, 1024 are needed"},
      {{kLlamaCpp, 2}, 100, "window 2 is too small"},
      {{kLmEval, 0}, 5, "window 0 is too small"},
      {{kLmEval, -3}, 5, "window -3 is too small"},
  };
  for (const Case& c : cases) {
    const auto windows = plan_windows(c.n, c.plan);
    ASSERT_FALSE(windows.ok()) << c.says;
    EXPECT_EQ(windows.error().code, ErrorCode::kBadInput);
    EXPECT_NE(windows.error().message.find(c.says), std::string::npos) << windows.error().message;
    EXPECT_FALSE(windows.error().hint.empty());
  }
  EXPECT_TRUE(plan_windows(0, {kLmEval, 8}).value().empty());
}

TEST(PerplexityConventions, HaveNames) {
  EXPECT_EQ(perplexity_convention_names(),
            (std::vector<std::string>{"papers", "hf-stride", "llama.cpp", "lm-eval"}));
  for (const auto& name : perplexity_convention_names()) {
    EXPECT_EQ(to_string(parse_perplexity_convention(name).value()), name);
  }
  const auto unknown = parse_perplexity_convention("hf-strid");
  ASSERT_FALSE(unknown.ok());
  EXPECT_NE(unknown.error().hint.find("hf-stride"), std::string::npos);
}

TEST(LossTotals, GivesAllItsFigures) {
  LossTotals set;
  LossTotals document;
  document.loss = 10 * std::numbers::ln2;
  document.tokens = 5;
  document.words = 2;
  document.bytes = 20;
  set.add(document);
  set.add(document);
  EXPECT_NEAR(set.perplexity(), 4, 1e-12);
  EXPECT_NEAR(set.word_perplexity(), 32, 1e-12);
  EXPECT_NEAR(set.byte_perplexity(), std::sqrt(2.0), 1e-12);
  EXPECT_NEAR(set.bits_per_byte(), 0.5, 1e-12);
  EXPECT_TRUE(std::isnan(LossTotals{}.perplexity()));

  // A window of 3 losses that weighs 2 tokens counts two thirds of its loss.
  LossTotals weighted;
  EXPECT_NEAR(weighted.add({0, 8, 5, WindowBos::kNone, 2}, 9.0), 6.0, 1e-12);
  EXPECT_EQ(weighted.tokens, 2);
}

TEST(LmEvalWordCount, EqualsThePythonExpression) {
  const auto golden = read_golden("perplexity_windows.json");
  for (const auto& pair : golden["words"]) {
    EXPECT_EQ(lm_eval_word_count(pair[0].get<std::string>()), pair[1].get<int64_t>()) << pair;
  }
}

}  // namespace
}  // namespace lathe
