// Verdicts corrected over the variants of a sweep.
#include "lathe/lab/sweep_verdicts.h"

#include <gtest/gtest.h>

namespace lathe {
namespace {

Run compared(const std::string& variant, double p_value, double p_of_ppl) {
  Run run;
  run.id = run.variant = variant;
  run.baseline = "fp16";
  run.status = "done";
  run.experiment = {{"name", "x"}};
  const auto add = [&](const char* task, const char* metric, double p, const char* convention) {
    Measurement m;
    m.task = task;
    m.metric = metric;
    m.p_value = p;
    m.verdict = p < 0.05 ? "worse" : "undecided";
    m.decisive_n = 1000;
    if (*convention) m.extra["convention"] = convention;
    run.results.push_back(std::move(m));
  };
  add("squad_v2", "f1", p_value, "");
  add("rosetta", "ppl", p_of_ppl, "papers");
  add("rosetta", "ppl", 0.04, "hf-stride");
  return run;
}

TEST(SweepVerdicts, EachColumnIsCorrectedForItsVariants) {
  std::vector<lathe::Run> runs = {compared("a", 0.03, 0.001), compared("b", 0.0001, 0.002),
                                  compared("c", 0.7, 0.003)};
  lathe::Run baseline = compared("fp16", 1, 1);
  for (Measurement& m : baseline.results) m.p_value.reset(), m.verdict.clear();
  runs.push_back(baseline);
  correct_verdicts(runs);
  EXPECT_EQ(runs[0].results[0].verdict, "undecided") << "0.03 · 2 is no longer below 0.05";
  EXPECT_DOUBLE_EQ(*runs[0].results[0].p_holm, 0.06);
  EXPECT_GT(*runs[0].results[0].decisive_n, 1000);
  EXPECT_EQ(runs[1].results[0].verdict, "worse");
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(runs[i].results[1].verdict, "worse") << "the small values of another column stay";
    EXPECT_EQ(runs[i].results[2].verdict, "undecided") << "a convention is a column of its own";
    EXPECT_DOUBLE_EQ(*runs[i].results[2].p_holm, 0.12);
  }
  EXPECT_FALSE(runs[3].results[0].p_holm);
  EXPECT_EQ(runs[3].results[0].verdict, "");
  const auto once = runs;
  correct_verdicts(runs);
  for (size_t i = 0; i < runs.size(); ++i) EXPECT_EQ(to_json(runs[i]), to_json(once[i]));
}

TEST(SweepVerdicts, ExperimentsAndFailedRunsAreNotMixed) {
  std::vector<lathe::Run> runs = {compared("a", 0.03, 1), compared("b", 0.04, 1),
                                  compared("c", 0.04, 1)};
  runs[1].experiment["name"] = "y";
  runs[2].status = "failed";
  correct_verdicts(runs);
  EXPECT_EQ(runs[0].results[0].verdict, "worse");
  EXPECT_EQ(runs[1].results[0].verdict, "worse");
  EXPECT_FALSE(runs[2].results[0].p_holm);
}

}  // namespace
}  // namespace lathe
