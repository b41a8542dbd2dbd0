// Runs as files: what is kept, what is dropped, what is refused.
#include "lathe/track/run_store.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>

#include "lathe/base/mapped_file.h"
#include "support/files.h"

namespace lathe {
namespace {

namespace fs = std::filesystem;

Sample sample_of(const std::string& id, double f1) {
  Sample sample;
  sample.id = id;
  sample.scores["f1"] = f1;
  sample.detail["prediction"] = "text of " + id;
  return sample;
}

class RunStore : public ::testing::Test {
 protected:
  void put(const std::string& name, const std::string& text) const {
    fs::create_directories(fs::path(run_.file(name)).parent_path());
    std::ofstream(run_.file(name), std::ios::binary) << text;
  }
  static std::string message(const Status& status) {
    return status.ok() ? "" : status.error().message;
  }
  test::TemporaryFolder folder_;
  const RunFolder run_{folder_.file("x/nf4")};
};

TEST_F(RunStore, KeepsWhatWasMadeForTheSameHash) {
  ASSERT_TRUE(run_.begin("one", {}).ok());
  put("samples.jsonl", "x\n");
  put("model/lathe.json", "{}");
  ASSERT_TRUE(run_.begin("one", {}).ok());
  EXPECT_TRUE(run_.has("samples.jsonl"));
  EXPECT_TRUE(run_.has("model/lathe.json"));
}

TEST_F(RunStore, EmptiesWhatWasMadeForAnother) {
  ASSERT_TRUE(run_.begin("one", {}).ok());
  for (const char* name : {"samples.jsonl", "measured.json", "run.json", "model/lathe.json"}) {
    put(name, "x");
  }
  put("notes.txt", "mine");
  ASSERT_TRUE(run_.begin("two", {}).ok());
  for (const char* name : {"samples.jsonl", "measured.json", "run.json", "model"}) {
    EXPECT_FALSE(run_.has(name)) << name;
  }
  EXPECT_TRUE(run_.has("notes.txt")) << "what is not ours stays";
  ASSERT_TRUE(run_.begin("two", {}).ok());
}

TEST_F(RunStore, ClearsAwayWhatAKillHasLeft) {
  ASSERT_TRUE(run_.begin("one", {}).ok());
  put("run.json.tmp-77-0", "{");
  put("model.tmp-77-1/model.safetensors", "half");
  put("samples.jsonl", "x\n");
  ASSERT_TRUE(run_.begin("one", {}).ok());
  EXPECT_FALSE(run_.has("run.json.tmp-77-0"));
  EXPECT_FALSE(run_.has("model.tmp-77-1"));
  EXPECT_TRUE(run_.has("samples.jsonl"));
}

TEST_F(RunStore, OneProcessAtATime) {
  {
    const auto first = run_.lock();
    ASSERT_TRUE(first.ok());
    const auto second = run_.lock();
    ASSERT_FALSE(second.ok());
    EXPECT_NE(second.error().message.find("another process"), std::string::npos);
  }
  EXPECT_TRUE(run_.lock().ok()) << "the lock goes with its holder";
}

TEST_F(RunStore, SamplesAreKeptUpToTheLineThatWasCut) {
  ASSERT_TRUE(run_.begin("one", {}).ok());
  {
    auto log = SampleLog::open(run_);
    ASSERT_TRUE(log.ok());
    for (int i = 0; i < 5; ++i) {
      ASSERT_TRUE(log->append(sample_of(std::to_string(i), i / 4.0), "squad_v2").ok());
    }
  }
  const std::string path = run_.file("samples.jsonl");
  const auto whole = fs::file_size(path);
  const size_t last_line = read_text(path)->size() - read_text(path)->rfind('\n', whole - 2) - 1;
  // Wherever the last line is cut, the other four remain and the next one follows them.
  for (size_t cut = 1; cut <= last_line; ++cut) {
    const std::string before = read_text(path).value();
    fs::resize_file(path, whole - cut);
    EXPECT_EQ(run_.samples().value().at("squad_v2").size(), 4u);
    {
      auto log = SampleLog::open(run_);
      ASSERT_TRUE(log.ok() && log->append(sample_of("4", 1.0), "squad_v2").ok());
    }
    EXPECT_EQ(read_text(path).value(), before) << "cut by " << cut;
  }
  const auto read = run_.samples().value().at("squad_v2");
  ASSERT_EQ(read.size(), 5u);
  EXPECT_EQ(read[3].id, "3");
  EXPECT_EQ(read[3].scores.at("f1"), 0.75);
  EXPECT_EQ(read[3].detail["prediction"], "text of 3");
}

TEST_F(RunStore, DamagedSamplesAreRefusedByLine) {
  const std::vector<std::pair<const char*, const char*>> cases = {
      {"no json\n", "samples.jsonl:1"},
      {"{\"task\": \"t\", \"id\": \"1\", \"scores\": {}}\n[]\n", "samples.jsonl:2"},
      {"{\"task\": \"t\", \"id\": 1, \"scores\": {}}\n", "'id'"},
      {"{\"task\": \"t\", \"id\": \"1\", \"scores\": {\"f1\": \"high\"}}\n", "'f1'"},
      {"{\"task\": 3, \"id\": \"1\", \"scores\": {}}\n", "'task'"},
      {"{\"id\": \"1\", \"scores\": {}}\n", "'task'"}};
  for (const auto& [text, words] : cases) {
    put("samples.jsonl", text);
    const auto samples = run_.samples();
    ASSERT_FALSE(samples.ok()) << text;
    EXPECT_NE(samples.error().message.find(words), std::string::npos) << samples.error().message;
    EXPECT_NE(samples.error().hint.find("delete"), std::string::npos);
  }
}

TEST_F(RunStore, RunsReadBackAsWritten) {
  lathe::Run run;
  run.id = "nf4";
  run.variant = "nf4";
  run.baseline = "fp16";
  run.status = "done";
  run.model = {{"path", "m"}};
  run.experiment = {{"name", "x"}, {"order", 3}};
  run.recipe = run.environment = nlohmann::json::object();
  run.tasks = run.layers = run.samples = nlohmann::json::array();
  Measurement m;
  m.task = "perplexity";
  m.metric = "ppl";
  m.value = 1.25;
  m.low = 1.2;
  m.n = 7;
  m.extra = {{"convention", "hf-stride"}, {"window", 512}, {"prompt_tokens", 128}};
  run.results = {m, m};
  run.results[1].value = INFINITY;
  ASSERT_TRUE(run_.begin("one", {}).ok());
  ASSERT_TRUE(run_.write("run.json", to_json(run)).ok());
  const auto runs = load_runs(folder_.path());
  ASSERT_TRUE(runs.ok()) << runs.error().message;
  ASSERT_EQ(runs->size(), 1u);
  const lathe::Run& back = runs->front();
  nlohmann::json expected = to_json(run), found = to_json(back);
  EXPECT_TRUE(std::isnan(back.results[1].value)) << "JSON has no infinity";
  expected["results"].erase(1);
  found["results"].erase(1);
  EXPECT_EQ(found, expected);
}

TEST_F(RunStore, RunsComeInTheExperimentsOrder) {
  for (const auto& [name, order] : {std::pair{"a", 2}, {"b", 0}, {"c", 1}}) {
    const RunFolder run(folder_.file(std::string("x/") + name));
    ASSERT_TRUE(run.begin("h", {}).ok());
    ASSERT_TRUE(run.write("run.json", {{"id", name},
                                       {"variant", name},
                                       {"status", "done"},
                                       {"experiment", {{"order", order}}},
                                       {"results", nlohmann::json::array()}})
                    .ok());
  }
  std::string ids;
  for (const lathe::Run& run : load_runs(folder_.path()).value()) ids += run.id;
  EXPECT_EQ(ids, "bca");
}

TEST(Measurements, RefuseWrongTypes) {
  const nlohmann::json good = {{"task", "t"}, {"metric", "m"}, {"value", 1.5}};
  ASSERT_TRUE(measurement_from_json(good).ok());
  EXPECT_FALSE(measurement_from_json(3).ok());
  for (const char* key : {"task", "metric", "value"}) {
    nlohmann::json without = good;
    without.erase(key);
    EXPECT_FALSE(measurement_from_json(without).ok()) << key;
  }
  for (const auto& [key, value] :
       std::vector<std::pair<const char*, nlohmann::json>>{{"task", 1},
                                                           {"value", "high"},
                                                           {"low", "x"},
                                                           {"n", 1.5},
                                                           {"unit", nullptr},
                                                           {"convention", 4}}) {
    nlohmann::json wrong = good;
    wrong[key] = value;
    const auto read = measurement_from_json(wrong);
    ASSERT_FALSE(read.ok()) << key;
    EXPECT_NE(read.error().message.find(key), std::string::npos) << read.error().message;
  }
}

}  // namespace
}  // namespace lathe
