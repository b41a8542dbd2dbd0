// SQuAD as a task: the threshold sweep from samples is the official one.
#include <gtest/gtest.h>

#include "eval/metric_golden.h"
#include "lathe/eval/task.h"

namespace lathe {
namespace {

TEST(SquadTask, SweepsThresholdsWhenAskedTo) {
  auto opened = open_engine("bundled", {.device = "cpu", .threads = 2, .math = Math::kExact});
  ASSERT_TRUE(opened.ok());
  const auto rows_of = [&](bool probability) {
    const auto task =
        make_task("squad_v2", {{"limit", 12}, {"no_answer_probability", probability}});
    EXPECT_TRUE((*task)->prepare(*opened).ok());
    std::vector<Sample> samples;
    EXPECT_TRUE((*task)
                    ->run(*opened, {},
                          [&](Sample s) -> Status {
                            samples.push_back(std::move(s));
                            return {};
                          })
                    .ok());
    std::map<std::string, Measurement> rows;
    for (Measurement& m : aggregate(**task, samples, nullptr, 0)) rows[m.metric] = m;
    return rows;
  };
  const auto plain = rows_of(false), swept = rows_of(true);
  EXPECT_EQ(plain.count("best_f1"), 0u);
  ASSERT_EQ(swept.count("best_f1"), 1u);
  // The threshold 1 overrides nothing, so the best is no worse.
  EXPECT_GE(swept.at("best_f1").value, swept.at("f1").value - 1e-9);
  EXPECT_GE(swept.at("best_exact").value, swept.at("exact_match").value - 1e-9);
  EXPECT_EQ(swept.at("best_f1").n, 12);
  for (const auto& [metric, row] : plain) EXPECT_EQ(row.value, swept.at(metric).value) << metric;
}

}  // namespace
}  // namespace lathe
