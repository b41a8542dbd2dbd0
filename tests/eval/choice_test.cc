// Log-likelihood tasks against lm-evaluation-harness with transformers, on a tiny random model.
#include <gtest/gtest.h>

#include <cmath>

#include "eval/metric_golden.h"
#include "lathe/eval/task.h"

namespace lathe {
namespace {

const std::string kFolder = std::string(LATHE_SOURCE_DIR) + "/tests/golden/eval/choice";

const Engine& engine() {
  static const Engine opened = [] {
    auto engine = open_engine(kFolder, {.device = "cpu", .threads = 2, .math = Math::kExact});
    EXPECT_TRUE(engine.ok()) << engine.error().message;
    return std::move(*engine);
  }();
  return opened;
}

std::vector<Sample> run(Task& task, const std::set<std::string>& done = {}) {
  std::vector<Sample> samples;
  const Status status = task.run(engine(), done, [&](Sample s) -> Status {
    samples.push_back(std::move(s));
    return {};
  });
  EXPECT_TRUE(status.ok()) << status.error().message;
  return samples;
}

std::unique_ptr<Task> prepared(const std::string& name, nlohmann::json parameters = {}) {
  parameters["data"] = kFolder + "/" + name + ".jsonl";
  auto task = make_task(name, parameters);
  EXPECT_TRUE(task.ok()) << task.error().message;
  const Status status = (*task)->prepare(engine());
  EXPECT_TRUE(status.ok()) << status.error().message;
  return std::move(*task);
}

class Choice : public ::testing::TestWithParam<const char*> {};

TEST_P(Choice, EqualsTheReference) {
  const auto golden = read_golden("choice/golden.json")[GetParam()];
  const auto task = prepared(GetParam());
  const auto samples = run(*task);
  const auto& expected = golden["log_likelihoods"];
  ASSERT_EQ(samples.size(), expected.size());
  for (size_t i = 0; i < samples.size(); ++i) {
    const bool choice = samples[i].detail.contains("log_likelihoods");
    const auto ours = choice ? samples[i].detail["log_likelihoods"].get<std::vector<double>>()
                             : std::vector<double>{-samples[i].scores.at("nll")};
    ASSERT_EQ(ours.size(), expected[i].size());
    for (size_t k = 0; k < ours.size(); ++k) {
      EXPECT_NEAR(ours[k], expected[i][k].get<double>(), 2e-5 * std::abs(ours[k])) << i;
    }
  }
  for (const Measurement& row : aggregate(*task, samples, nullptr, 0)) {
    const char* theirs = row.metric == "ppl" ? "perplexity" : row.metric.c_str();
    const double score = golden["scores"][theirs].get<double>();
    if (row.metric == "ppl") {
      EXPECT_NEAR(row.value, score, 1e-4 * score);
    } else {
      EXPECT_DOUBLE_EQ(row.value, 100 * score) << row.metric;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, Choice,
                         ::testing::Values("arc_easy", "hellaswag", "piqa", "winogrande", "mmlu",
                                           "lambada"),
                         [](const auto& shape) { return std::string(shape.param); });

TEST(ChoiceTask, ResumesToTheSameScores) {
  const auto task = prepared("winogrande");
  const auto whole = run(*task);
  std::set<std::string> done;
  for (size_t i = 0; i < whole.size(); i += 2) done.insert(whole[i].id);
  const auto rest = run(*task, done);
  ASSERT_EQ(rest.size(), whole.size() / 2);
  for (size_t i = 0; i < rest.size(); ++i) {
    EXPECT_EQ(rest[i].id, whole[2 * i + 1].id);
    EXPECT_EQ(rest[i].scores, whole[2 * i + 1].scores);
  }
}

TEST(ChoiceTask, ShowsWhatItFedInPreflight) {
  const auto task =
      prepared("mmlu", {{"limit", 8}, {"shots", 5}, {"shots_data", kFolder + "/mmlu.jsonl"}});
  const nlohmann::json facts = task->preflight();
  EXPECT_EQ(facts["prompts"], 8);
  EXPECT_EQ(facts["chat"], false);
  EXPECT_EQ(facts["prompt_hash"].get<std::string>().size(), 64u);
  EXPECT_EQ(facts["task_version"], 1);
  EXPECT_EQ(run(*task).size(), 8u);
  const auto other = prepared("mmlu", {{"limit", 8}});
  EXPECT_NE(other->preflight()["prompt_hash"], facts["prompt_hash"]);
}

TEST(ChoiceTask, RefusesChatWithoutATemplate) {
  auto task = make_task("piqa", {{"data", kFolder + "/piqa.jsonl"}, {"chat", true}});
  ASSERT_TRUE(task.ok());
  const Status status = (*task)->prepare(engine());
  ASSERT_FALSE(status.ok());
  EXPECT_NE(status.error().message.find("no chat template"), std::string::npos);
}

}  // namespace
}  // namespace lathe
