// Experiments: what is read, what is refused, what a plan makes of it, and how a run is finished.
#include "lathe/lab/experiment.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>

#include "lathe/base/mapped_file.h"
#include "lathe/eval/task.h"
#include "lathe/lab/finish_run.h"
#include "lathe/lab/sweep.h"
#include "lathe/profile/probe.h"
#include "support/files.h"

namespace lathe {
namespace {

using nlohmann::json;

Experiment parse(const std::string& text) {
  auto experiment = parse_experiment(text, "x.yaml");
  EXPECT_TRUE(experiment.ok()) << experiment.error().message;
  return std::move(*experiment);
}

TEST(Experiment, EveryKeyIsRead) {
  const Experiment e = parse(R"(
name: x
models: [bundled, some/model]
baseline: plain
variants:
  zebra: {format: "int4:g32"}
  plain:
  apple: {prune: {method: magnitude, sparsity: 0.5}, format: int8}
tasks: [gsm8k, {squad_v2: {limit: 7}}]
probes: [{latency: {prompt: 9}}, size]
cost: {usd_per_hour: 1.5}
seed: 42
context: 512
)");
  EXPECT_EQ(e.models, (std::vector<std::string>{"bundled", "some/model"}));
  EXPECT_EQ(e.baseline, "plain");
  ASSERT_EQ(e.variants.size(), 3u);
  EXPECT_EQ(e.variants[0].name, "zebra") << "variants keep the order of the file";
  EXPECT_EQ(e.variants[0].recipe.format(), "int4:g32");
  EXPECT_TRUE(e.variants[1].recipe.empty());
  EXPECT_TRUE(e.variants[2].recipe.prunes());
  EXPECT_EQ(e.tasks[0].parameters["limit"], 0) << "defaults are filled in";
  EXPECT_EQ(e.tasks[1].parameters["limit"], 7);
  EXPECT_EQ(e.probes[0].parameters["prompt"], 9);
  EXPECT_EQ(e.probes[0].parameters["generate"], 64);
  EXPECT_EQ(*e.usd_per_hour, 1.5);
  EXPECT_EQ(e.seed, 42u);
  EXPECT_EQ(e.context, 512);
}

TEST(Experiment, LeastIsEnough) {
  const Experiment e = parse(
      "name: x\nmodels: [m]\nvariants: {b: {format: f16}, a: }\n"
      "probes: [size]\n");
  EXPECT_EQ(e.baseline, "b") << "the first variant, where none is named";
  EXPECT_FALSE(e.usd_per_hour);
  EXPECT_EQ(e.seed, 0u);
}

TEST(Experiment, DemoParses) {
  const auto demo = parse_experiment(demo_experiment(), "demo");
  ASSERT_TRUE(demo.ok()) << demo.error().message;
}

// Errors of syntax, names and types are in tests/cli; here is what the words alone do not show.
TEST(Experiment, RefusedWithPlaceAndAdvice) {
  const std::string head = "name: x\nmodels: [m]\n";
  const std::vector<std::tuple<std::string, const char*, const char*>> cases = {
      {head + "variants: {a: {fromat: f16}}\nprobes: [size]\n", "x.yaml: variant 'a'", "format"},
      {head + "variants: {a: }\nbaseline: [a]\nprobes: [size]\n", "'baseline'", ""},
      {head + "variants: {a: }\nbaseline: aa\nprobes: [size]\n", "baseline 'aa'", "'a'"},
      {head + "variants: [a]\nprobes: [size]\n", "variants", ""},
      {head + "variants: {a: }\ntasks: [gsm8k, gsm8k]\n", "named twice", ""},
      {head + "variants: {a: }\ntasks: {gsm8k: }\n", "'tasks' must be a list", ""},
      {head + "variants: {a: }\ntasks: [{gsm8k: {}, squad_v2: {}}]\n", "a task is a name", ""},
      {head + "variants: {a: }\ntasks: [{gsm8k: 5}]\n", "a task is a name", ""},
      {head + "variants: {a: }\nprobes: [{latency: {prompt: -1}}]\n", "'prompt'", ""},
      {head + "variants: {a: }\nprobes: [size]\ncontext: many\n", "'context'", ""},
      {head + "variants: {a: }\nprobes: [size]\ncost: {usd_per_hour: -1}\n", "usd_per_hour", ""},
      {head + "variants: {a: }\nprobes: [size]\ncost: {eur_per_hour: 1}\n", "eur_per_hour",
       "usd_per_hour"},
      {"name: x/y\nmodels: [m]\nvariants: {a: }\nprobes: [size]\n", "experiment 'x/y'", ""},
      {"name: ..\nmodels: [m]\nvariants: {a: }\nprobes: [size]\n", "experiment '..'", ""},
      {"name: x\nmodels: []\nvariants: {a: }\nprobes: [size]\n", "'models' is empty", ""},
      {"name: x\nmodels: [3]\nvariants: {a: }\nprobes: [size]\n", "'models' must hold", ""}};
  for (const auto& [text, words, hint] : cases) {
    const auto refused = parse_experiment(text, "x.yaml");
    ASSERT_FALSE(refused.ok()) << text;
    EXPECT_EQ(refused.error().code, ErrorCode::kBadInput);
    EXPECT_EQ(refused.error().message.rfind("x.yaml", 0), 0u) << refused.error().message;
    EXPECT_NE(refused.error().message.find(words), std::string::npos) << refused.error().message;
    EXPECT_NE(refused.error().hint.find(hint), std::string::npos) << refused.error().hint;
  }
}

// docs/experiments.md against the parser: every YAML block parses, and every key, task, probe and
// parameter with its default is named.
TEST(Experiment, DocumentationIsTrue) {
  const std::string page = read_text(test::source_file("docs/experiments.md")).value();
  int blocks = 0;
  for (size_t at = 0; (at = page.find("```yaml\n", at)) != std::string::npos;) {
    at += 8;
    const size_t end = page.find("```", at);
    const auto experiment = parse_experiment(page.substr(at, end - at), "docs/experiments.md");
    EXPECT_TRUE(experiment.ok()) << experiment.error().message;
    ++blocks;
    at = end;
  }
  EXPECT_GE(blocks, 2);
  const auto expect_section = [&](const std::string& name, const std::string& description,
                                  const json& defaults) {
    std::string wanted = "### `" + name + "`\n\n" + description + "\n";
    std::vector<std::string> rows;
    for (const auto& [key, value] : defaults.items()) {
      rows.push_back("| `" + key + "` | `" + value.dump() + "` |");
    }
    if (!rows.empty()) wanted += "\n| parameter | default |\n|---|---|\n";
    for (const std::string& row : rows) wanted += row + "\n";
    const size_t begin = page.find("### `" + name + "`\n");
    ASSERT_NE(begin, std::string::npos) << "docs/experiments.md lacks this section:\n" << wanted;
    const std::string section = page.substr(begin, page.find("\n#", begin + 4) - begin);
    for (const std::string& row : rows) {
      EXPECT_NE(section.find(row), std::string::npos) << name << " lacks this row:\n" << row;
    }
  };
  // Tasks that are data describe themselves; those that are code have data of their own.
  for (const TaskKind& kind : task_kinds()) {
    if (!kind.defaults["data"].get<std::string>().empty())
      expect_section(kind.name, kind.description, kind.defaults);
  }
  for (const ProbeKind& kind : probe_kinds()) {
    expect_section(kind.name, kind.description, kind.defaults);
  }
  for (const char* key : {"name", "models", "baseline", "variants", "tasks", "probes", "cost",
                          "track", "seed", "context", "kv"}) {
    EXPECT_NE(page.find("| `" + std::string(key) + "` |"), std::string::npos) << key;
  }
}

class Plan : public ::testing::Test {
 protected:
  Plan() {
    experiment_ = parse("name: x\nmodels: [" + test::source_file("models/tiny") +
                        "]\nbaseline: plain\nvariants: {a: {format: \"int4:g32\"}, plain: , "
                        "b: {format: int8}}\nprobes: [size]\ntasks: [squad_v2]\n");
    options_.runs_folder = folder_.path();
  }
  std::string names() const {
    const auto plan = plan_sweep(experiment_, options_);
    if (!plan.ok()) return plan.error().message;
    std::string out;
    for (const PlannedRun& run : *plan) out += run.id + ":" + run.state + " ";
    return out;
  }
  void put(const std::string& file) const {
    const auto path = std::filesystem::path(folder_.file("x/" + file));
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path) << "x";
  }
  test::TemporaryFolder folder_;
  Experiment experiment_;
  SweepOptions options_;
};

TEST_F(Plan, BaselineFirstThenTheFilesOrder) { EXPECT_EQ(names(), "plain:new a:new b:new "); }

TEST_F(Plan, SaysWhatIsDone) {
  put("a/samples.jsonl");
  put("b/samples.jsonl");
  put("b/measured.json");
  EXPECT_EQ(names(), "plain:new a:begun b:done ");
}

TEST_F(Plan, OnlyAndSkip) {
  options_.only = {"b", "a"};
  EXPECT_EQ(names(), "a:new b:new ");
  options_.skip = {"a"};
  EXPECT_EQ(names(), "b:new ");
  options_.skip = {"a", "b"};
  EXPECT_NE(names().find("leave no variant"), std::string::npos);
  options_.only = {"plane"};
  EXPECT_NE(names().find("no variant 'plane'"), std::string::npos);
}

TEST_F(Plan, PredictsSizesAndSaysWhatCannotRun) {
  auto plan = plan_sweep(experiment_, options_).value();
  EXPECT_GT(plan[0].stored_bytes, plan[2].stored_bytes);
  EXPECT_GT(plan[2].stored_bytes, plan[1].stored_bytes);
  experiment_.models.push_back("/no/such/model");
  plan = plan_sweep(experiment_, options_).value();
  ASSERT_EQ(plan.size(), 6u);
  EXPECT_EQ(plan[0].id, "tiny/plain");
  EXPECT_EQ(plan[0].problem, "");
  EXPECT_EQ(plan[3].id, "model/plain");
  EXPECT_NE(plan[3].problem.find("/no/such/model"), std::string::npos);
}

class Finish : public ::testing::Test {
 protected:
  Finish() {
    std::filesystem::create_directories(run_.path());
    experiment_ = parse(
        "name: x\nmodels: [m]\nvariants: {a: }\ntasks: [squad_v2]\n"
        "probes: [latency]\ncost: {usd_per_hour: 3.6}\n");
  }
  void measured(const json& text) const { ASSERT_TRUE(run_.write("measured.json", text).ok()); }
  void samples(std::vector<int> order) const {
    std::ofstream file(run_.file("samples.jsonl"), std::ios::trunc);
    for (const int id : order) {
      file << json{{"task", "squad_v2"},
                   {"id", std::to_string(id)},
                   {"scores", {{"f1", 1.0 / (id + 3)}, {"exact_match", id % 2}}},
                   {"prediction", "p"}}
                  .dump()
           << "\n";
    }
  }
  Result<lathe::Run> finish(const SamplesByTask* baseline = nullptr) const {
    lathe::Run run;
    run.variant = "a";
    run.model = json::object();
    LATHE_OK(finish_run(experiment_, run_, baseline, run));
    return run;
  }
  test::TemporaryFolder folder_;
  const RunFolder run_{folder_.file("a")};
  const json good_ = {
      {"environment", {{"cpu", "c"}}},
      {"parameters", 12},
      {"format", "int8"},
      {"preflight", json::object()},
      {"results",
       {{{"task", "latency"}, {"metric", "decode_tokens_per_s"}, {"value", 1000.0}, {"n", 3}}}}};
  Experiment experiment_;
};

// docs/metrics.md names every metric that tasks and probes give.
TEST(Metrics, DocumentationIsComplete) {
  const std::string page = read_text(test::source_file("docs/metrics.md")).value();
  std::vector<std::string> names = {"usd_per_million_tokens",
                                    "usd_per_million_prompt_tokens",
                                    "ttft_ms",
                                    "prefill_tokens_per_s",
                                    "decode_tokens_per_s",
                                    "itl_ms_p50",
                                    "itl_ms_p90",
                                    "itl_ms_p99",
                                    "disk_bytes",
                                    "weights_bytes",
                                    "bits_per_weight",
                                    "kv_bytes",
                                    "peak_engine_bytes",
                                    "peak_rss_bytes"};
  for (const char* task : {"perplexity", "squad_v2", "gsm8k"}) {
    for (const MetricDef& metric : (*make_task(task, json::object()))->metrics()) {
      names.push_back(metric.name);
    }
  }
  for (const std::string& name : names) {
    EXPECT_NE(page.find("`" + name + "`"), std::string::npos) << "docs/metrics.md lacks " << name;
  }
}

TEST_F(Finish, OrderOfTheSamplesDoesNotMatter) {
  measured(good_);
  samples({0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11});
  const std::string forward = to_json(finish().value()).dump();
  samples({11, 3, 10, 0, 9, 1, 8, 2, 7, 4, 6, 5});
  EXPECT_EQ(to_json(finish().value()).dump(), forward);
}

TEST_F(Finish, RowsCarryVariantFormatAndCost) {
  measured(good_);
  samples({0, 1});
  const lathe::Run run = finish().value();
  EXPECT_EQ(run.model["parameters"], 12);
  const Measurement* cost = nullptr;
  for (const Measurement& m : run.results) {
    EXPECT_EQ(m.variant, "a");
    EXPECT_EQ(m.format, "int8");
    if (m.metric == "usd_per_million_tokens") cost = &m;
  }
  ASSERT_TRUE(cost);
  // 3.60 an hour are 0.001 a second, in which 1000 tokens come.
  EXPECT_NEAR(cost->value, 1.0, 1e-12);
}

TEST_F(Finish, ComparesWithTheBaselineOnTheSameSamples) {
  measured(good_);
  samples({0, 1, 2, 3, 4, 5, 6, 7});
  const SamplesByTask baseline = run_.samples().value();
  const auto run = finish(&baseline);
  ASSERT_TRUE(run.ok()) << run.error().message;
  int compared = 0;
  for (const Measurement& m : run->results) {
    if (m.task != "squad_v2" || !m.baseline_delta) continue;
    ++compared;
    EXPECT_EQ(m.baseline_delta.value_or(-1), 0) << m.metric;
    EXPECT_EQ(m.verdict, "=") << m.metric;
  }
  EXPECT_GE(compared, 2);
}

TEST_F(Finish, DamagedFilesAreRefused) {
  samples({0});
  EXPECT_FALSE(finish().ok()) << "no measured.json";
  for (const char* key : {"environment", "parameters", "format", "preflight", "results"}) {
    json damaged = good_;
    damaged.erase(key);
    measured(damaged);
    const auto refused = finish();
    ASSERT_FALSE(refused.ok()) << key;
    EXPECT_NE(refused.error().message.find("measured.json"), std::string::npos);
  }
  json damaged = good_;
  damaged["results"][0]["value"] = "fast";
  measured(damaged);
  EXPECT_FALSE(finish().ok());
  std::ofstream(run_.file("measured.json"), std::ios::trunc) << "{";
  EXPECT_FALSE(finish().ok());
}

}  // namespace
}  // namespace lathe
