// Coherence of answers with their prompts: against the vectors of transformers, as a row of tasks,
// and what happens without an encoder.
#include "lathe/eval/coherence.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>

#include "lathe/base/mapped_file.h"
#include "lathe/eval/data/task_spec.h"
#include "support/files.h"

namespace lathe {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

std::string tiny_bert() { return test::source_file("tests/golden/encoders/tiny-bert"); }

const Engine& engine() {
  static const auto opened = open_engine(test::source_file("models/tiny"),
                                         {.device = "cpu", .threads = 2, .math = Math::kExact});
  return opened.value();
}

std::vector<Sample> samples_of(Task& task) {
  std::vector<Sample> samples;
  const Status ran = task.run(engine(), {}, [&](Sample s) -> Status {
    samples.push_back(std::move(s));
    return {};
  });
  EXPECT_TRUE(ran.ok()) << ran.error().message;
  return samples;
}

// The hub's cache for the length of a test.
class HubCache {
 public:
  HubCache() { ::setenv("HF_HUB_CACHE", folder_.path().c_str(), 1); }
  ~HubCache() { ::unsetenv("HF_HUB_CACHE"); }

  void add_default_encoder() const {
    const std::string repo = folder_.file("models--sentence-transformers--all-MiniLM-L6-v2");
    fs::create_directories(repo + "/refs");
    std::ofstream(repo + "/refs/main") << "0123abcd";
    fs::create_directories(repo + "/snapshots");
    fs::copy(tiny_bert(), repo + "/snapshots/0123abcd", fs::copy_options::recursive);
  }

 private:
  test::TemporaryFolder folder_;
};

TEST(Coherence, IsTheCosineOfTheReferenceVectors) {
  const auto golden = nlohmann::json::parse(read_text(tiny_bert() + "/golden.json").value());
  const auto texts = golden["texts"].get<std::vector<std::string>>();
  const auto vectors = golden["vectors"].get<std::vector<std::vector<double>>>();
  std::vector<Sample> samples(texts.size());
  std::vector<ComparedTexts> compared;
  for (size_t i = 0; i < texts.size(); ++i) {
    compared.push_back({&samples[i], "coherence", texts[i], texts[texts.size() - 1 - i]});
  }
  const auto files = find_encoder(tiny_bert()).value();
  const auto facts = score_coherence(*files, *engine().ops, compared);
  ASSERT_TRUE(facts.ok()) << facts.error().message;
  for (size_t i = 0; i < texts.size(); ++i) {
    double cosine = 0;
    for (size_t c = 0; c < vectors[i].size(); ++c) {
      cosine += vectors[i][c] * vectors[texts.size() - 1 - i][c];
    }
    EXPECT_NEAR(samples[i].scores.at("coherence"), cosine, 1e-5) << texts[i];
  }
  EXPECT_EQ((*facts)["prompts_cut"], 2);
  EXPECT_EQ((*facts)["answers_cut"], 2);
  EXPECT_EQ((*facts)["encoder_tokens"], 20);
  EXPECT_EQ((*facts)["encoder_hash"].get<std::string>().size(), 64u);
}

TEST(Coherence, IsARowOfATaskThatIsGivenAnEncoder) {
  const auto plain = make_task("squad_v2", {{"limit", 4}}).value();
  const auto task = make_task("squad_v2", {{"limit", 4}, {"encoder", tiny_bert()}}).value();
  EXPECT_TRUE(plain->judge_files().empty());
  EXPECT_THAT(task->judge_files(), ::testing::IsSupersetOf({tiny_bert() + "/model.safetensors",
                                                            tiny_bert() + "/1_Pooling/config.json",
                                                            tiny_bert() + "/tokenizer.json"}));
  ASSERT_TRUE(task->prepare(engine()).ok());
  std::vector<Sample> samples = samples_of(*task);
  nlohmann::json preflight = task->preflight();
  EXPECT_FALSE(samples[0].scores.contains("coherence"));
  ASSERT_TRUE(task->judge(samples, *engine().ops, preflight).ok());
  EXPECT_EQ(preflight["coherence"]["encoder"], tiny_bert());
  EXPECT_THAT(preflight["warnings"].dump(), HasSubstr("coherence takes the beginning of 4 of 4"));
  const auto rows = aggregate(*task, samples, &samples, 0);
  const auto row = std::find_if(rows.begin(), rows.end(),
                                [](const Measurement& m) { return m.metric == "coherence"; });
  ASSERT_NE(row, rows.end());
  EXPECT_EQ(row->n, 4);
  EXPECT_EQ(row->better, "higher");
  EXPECT_EQ(row->verdict, "=");
  ASSERT_TRUE(row->low && row->high);
  EXPECT_LE(*row->low, row->value);
  double sum = 0;
  for (const Sample& sample : samples) sum += sample.scores.at("coherence");
  EXPECT_DOUBLE_EQ(row->value, sum / 4);
}

// Examples and preamble stand in the prompt that the model sees, and not in the one that is
// compared.
TEST(Coherence, ComparesTheRowsOwnPromptAndTheFilteredAnswer) {
  test::TemporaryFolder folder;
  std::ofstream(folder.file("rows.jsonl")) << R"({"q": "The cat sat", "a": "mat"})"
                                           << "\n";
  std::ofstream(folder.file("t.yaml"))
      << "task: t\noutput: generate\npreamble: \"All day. \"\n"
         "prompt: \"{{q}}\"\ntarget: \"{{a}}\"\nmax_tokens: 8\n"
         "data: {path: rows.jsonl}\n"
         "few_shot: {shots: 1, examples: [{q: snow, a: fell}]}\n"
         "filters: {cut: [remove: '.+', ]}\n"
         "metrics: [coherence, coherence: {name: none, filter: cut}]\n";
  const auto task = make_task(folder.file("t.yaml"), {{"encoder", tiny_bert()}}).value();
  const Status prepared = task->prepare(engine());
  ASSERT_TRUE(prepared.ok()) << prepared.error().message;
  std::vector<Sample> samples = samples_of(*task);
  ASSERT_EQ(samples.size(), 1u);
  EXPECT_EQ(samples[0].detail["own_prompt"], "The cat sat");
  EXPECT_THAT(samples[0].detail["prompt"].get<std::string>(), HasSubstr("All day. snow fell"));
  nlohmann::json preflight = task->preflight();
  ASSERT_TRUE(task->judge(samples, *engine().ops, preflight).ok());

  std::vector<Sample> direct(2);
  const auto generated = samples[0].detail["prediction"].get<std::string>();
  const auto files = find_encoder(tiny_bert()).value();
  ASSERT_TRUE(score_coherence(*files, *engine().ops,
                              {{&direct[0], "x", "The cat sat", generated},
                               {&direct[1], "x", "The cat sat", ""}})
                  .ok());
  EXPECT_NEAR(samples[0].scores["coherence"], direct[0].scores["x"], 1e-6);
  EXPECT_NEAR(samples[0].scores["none"], direct[1].scores["x"], 1e-6);
  EXPECT_EQ(aggregate(*task, samples, nullptr, 0).size(), 2u);
}

TEST(Coherence, IsLeftOutAndSaysSoWhereThereIsNoEncoder) {
  const HubCache empty;
  const auto task = make_task("squad_v2", {{"limit", 1}, {"encoder", "auto"}}).value();
  EXPECT_TRUE(task->judge_files().empty());
  ASSERT_TRUE(task->prepare(engine()).ok());
  nlohmann::json preflight = task->preflight();
  EXPECT_THAT(preflight["left_out"]["coherence"].get<std::string>(),
              HasSubstr("sentence-transformers/all-MiniLM-L6-v2 is not in the hub's cache"));
  EXPECT_THAT(preflight["warnings"].dump(), HasSubstr("coherence is left out"));
  std::vector<Sample> samples = samples_of(*task);
  ASSERT_TRUE(task->judge(samples, *engine().ops, preflight).ok());
  for (const Measurement& m : aggregate(*task, samples, nullptr, 0)) {
    EXPECT_NE(m.metric, "coherence");
  }
}

TEST(Coherence, TakesTheDefaultEncoderFromTheCache) {
  const HubCache cache;
  EXPECT_FALSE(find_encoder("auto").value());
  cache.add_default_encoder();
  const auto found = find_encoder("auto");
  ASSERT_TRUE(found.ok() && *found);
  EXPECT_THAT((*found)->path, HasSubstr("snapshots/0123abcd"));
}

// Before anything is generated.
TEST(Coherence, RefusesANamedEncoderThatIsMissingOrNone) {
  for (const auto& [encoder, what] :
       {std::pair<std::string, const char*>{"no/such/encoder", "no such"},
        {test::source_file("models/tiny"), "not an encoder"}}) {
    const auto task = make_task("gsm8k", {{"limit", 1}, {"encoder", encoder}}).value();
    const Status prepared = task->prepare(engine());
    ASSERT_FALSE(prepared.ok());
    EXPECT_THAT(prepared.error().message, HasSubstr("task 'gsm8k': encoder: "));
    EXPECT_THAT(prepared.error().message, HasSubstr(what));
    EXPECT_TRUE(task->judge_files().empty());
  }
}

TEST(Coherence, TaskFilesAreChecked) {
  const auto refused = [](const std::string& metrics) {
    const auto spec = parse_task_spec(
        "task: t\noutput: generate\nprompt: p\ntarget: a\nmetrics: " + metrics + "\n", "t", "");
    return spec.ok() ? std::string("accepted") : spec.error().message;
  };
  EXPECT_EQ(refused("[f1, coherence: {encoder: x}, coherence: {encoder: x, name: y}]"), "accepted");
  EXPECT_THAT(refused("[coherence: {encoder: x}, coherence: {encoder: y, name: z}]"),
              HasSubstr("one encoder"));
  EXPECT_THAT(refused("[coherence: {encodr: x}]"), HasSubstr("unknown key 'encodr'"));
  EXPECT_THAT(refused("[coherence: {encoder: ''}]"), HasSubstr("'encoder' is empty"));
  EXPECT_THAT(refused("[coherence, coherence]"), HasSubstr("two metrics are called 'coherence'"));
}

}  // namespace
}  // namespace lathe
