// End to end through the built program: exit codes, files, numbers.
#include "cli_support.h"

namespace lathe {
namespace {

namespace fs = std::filesystem;

using test::Outcome;
using test::run;

std::string model() { return test::tiny(); }

TEST(Cli, UnknownNamesAreNearestKnownOnes) {
  const Outcome command = run("evla bundled");
  EXPECT_EQ(command.code, 2);
  EXPECT_NE(command.err.find("did you mean 'eval'?"), std::string::npos) << command.err;
  const Outcome option = run("eval " + model() + " --taks perplexity");
  EXPECT_EQ(option.code, 2);
  EXPECT_NE(option.err.find("did you mean '--tasks'?"), std::string::npos) << option.err;
  const Outcome task = run("eval " + model() + " --tasks squad");
  EXPECT_EQ(task.code, 2);
  EXPECT_NE(task.err.find("squad_v2"), std::string::npos) << task.err;
}

TEST(Cli, MissingModelsAndMemoryHaveTheirExitCodes) {
  EXPECT_EQ(run("inspect /no/such/model").code, 2);
  setenv("LATHE_MEMORY_LIMIT_BYTES", "1000000", 1);
  const Outcome refused = run("profile " + model());
  unsetenv("LATHE_MEMORY_LIMIT_BYTES");
  EXPECT_EQ(refused.code, 3);
  EXPECT_NE(refused.err.find("MB are free"), std::string::npos) << refused.err;
}

TEST(Cli, CompressThenEvaluate) {
  test::TemporaryFolder folder;
  const std::string out = folder.file("nf4");
  const Outcome compressed = run("compress " + model() + " -o " + out + " --format nf4:b64,dq");
  ASSERT_EQ(compressed.code, 0) << compressed.err;
  const Outcome again = run("compress " + model() + " -o " + out + " --format nf4:b64,dq");
  EXPECT_EQ(again.code, 2) << "an existing model is not overwritten unasked";
  const Outcome scored =
      run("eval " + out + " --tasks perplexity --set perplexity.window=128 --limit 4 --json");
  ASSERT_EQ(scored.code, 0) << scored.err;
  const auto json = nlohmann::json::parse(scored.out);
  ASSERT_EQ(json["results"].size(), 1u);
  EXPECT_EQ(json["results"][0]["format"], "nf4:b64,dq");
  EXPECT_EQ(json["results"][0]["convention"], "llama.cpp");
  EXPECT_GT(json["results"][0]["value"].get<double>(), 1.0);
  EXPECT_LT(json["results"][0]["value"].get<double>(), 10.0);
}

TEST(Cli, KeptMatricesAreInspected) {
  test::TemporaryFolder folder;
  const std::string out = folder.file("mixed");
  const Outcome compressed =
      run("compress " + model() + " -o " + out +
          " --format int4:g32 --keep model.embed_tokens=int8:row --keep '/layers\\.[01]\\./=bf16'");
  ASSERT_EQ(compressed.code, 0) << compressed.err;
  const Outcome text = run("inspect " + out + " --matrices");
  EXPECT_NE(text.out.find("model.layers.1.mlp.down_proj"), std::string::npos) << text.out;
  const auto json = nlohmann::json::parse(run("inspect " + out + " --json").out);
  std::map<std::string, int> count;
  for (const auto& matrix : json["model"]["matrices"]) {
    const std::string name = matrix["name"], format = matrix["format"];
    ++count[format];
    EXPECT_EQ(format, name == "model.embed_tokens" ? "int8:row"
                      : name.find("layers.0.") != std::string::npos ||
                              name.find("layers.1.") != std::string::npos
                          ? "bf16"
                          : "int4:g32")
        << name;
  }
  EXPECT_EQ(count.size(), 3u);
  test::expect_one_error(run("compress " + model() + " -o " + out + "2 --keep lm_head=bf16"), 2,
                         {"lm_head", "embedding table"});
  test::expect_one_error(run("compress " + model() + " -o " + out + "2 --keep 'x=int5'"), 2,
                         {"--keep 'x=int5'", "unknown format"});
}

class CliSweep : public ::testing::Test {
 protected:
  void SetUp() override {
    std::ofstream(folder_.file("x.yaml"))
        << "name: x\nmodels: [" << model() << "]\nbaseline: fp16\n"
        << "variants:\n  fp16: {format: f16}\n"
        << "  int4: {format: \"int4:g32\"}\n"
        << "tasks: [{squad_v2: {limit: 6}}]\n"
        << "probes: [size]\n";
  }
  Outcome sweep(const std::string& more = "") {
    return run("sweep " + folder_.file("x.yaml") + " -o " + folder_.file("runs") + " " + more);
  }
  std::string result_of(const std::string& variant) {
    auto json =
        nlohmann::json::parse(read_text(folder_.file("runs/x/" + variant + "/run.json")).value());
    return json["results"].dump();
  }
  test::TemporaryFolder folder_;
};

TEST_F(CliSweep, WritesEveryOutputAndResumesToTheSameDigits) {
  const Outcome first = sweep();
  ASSERT_EQ(first.code, 0) << first.err;
  for (const char* file : {"report.html", "results.csv", "results.json", "results.md"}) {
    EXPECT_TRUE(fs::exists(folder_.file(std::string("runs/x/") + file))) << file;
  }
  const std::string digits = result_of("int4");
  EXPECT_NE(digits.find("baseline_delta"), std::string::npos);
  // As after a kill: the results are gone and the last sample is cut short.
  const std::string samples = folder_.file("runs/x/int4/samples.jsonl");
  fs::resize_file(samples, fs::file_size(samples) - 10);
  fs::remove(folder_.file("runs/x/int4/measured.json"));
  fs::remove(folder_.file("runs/x/int4/run.json"));
  const Outcome second = sweep();
  ASSERT_EQ(second.code, 0) << second.err;
  EXPECT_NE(second.out.find("1 of 2 runs were finished before"), std::string::npos) << second.out;
  EXPECT_EQ(result_of("int4"), digits);
}

TEST_F(CliSweep, SlowLatencyProbeLeavesATraceATimelineAndSharesOfTheCeilings) {
  test::write_file(folder_.file("x.yaml"),
                   "name: x\nmodels: [" + model() +
                       "]\nvariants: {fp16: {format: f16}}\n"
                       "probes: [{latency: {prompt: 8, generate: 4, repetitions: 1}}]\n");
  ::setenv("LATHE_POWERCAP", folder_.path().c_str(), 1);  // a tree without counters
  const Outcome outcome = sweep();
  ::unsetenv("LATHE_POWERCAP");
  ASSERT_EQ(outcome.code, 0);
  EXPECT_NE(
      outcome.out.find("unknown joules_per_token, joules_per_prompt_token: " + folder_.path()),
      std::string::npos)
      << outcome.out;
  std::map<std::string, nlohmann::json> rows;
  const auto run_json =
      nlohmann::json::parse(read_text(folder_.file("runs/x/fp16/run.json")).value());
  for (const auto& row : run_json["results"]) {
    rows[row["task"].get<std::string>() + "/" + row["metric"].get<std::string>()] = row;
  }
  EXPECT_GT(rows["roofline/decode_percent_of_read"]["value"].get<double>(), 0);
  EXPECT_GT(rows["roofline/prefill_gflop_per_s"]["value"].get<double>(), 0);
  EXPECT_TRUE(rows["latency/joules_per_token"]["value"].is_null());
  EXPECT_TRUE(rows["latency/joules_per_token"]["unknown"].is_string());
  const auto ceilings =
      nlohmann::json::parse(read_text(folder_.file("runs/ceilings.json")).value());
  EXPECT_EQ(ceilings.size(), 1u);
  const auto read = [&](const char* name) {
    return nlohmann::json::parse(
        read_text(folder_.file(std::string("runs/x/fp16/") + name)).value());
  };
  const auto trace = read("trace.json");
  std::map<std::string, int64_t> events;
  for (const auto& event : trace["traceEvents"]) {
    EXPECT_EQ(event["ph"], "X");
    EXPECT_GE(event["dur"].get<double>(), 0);
    ++events[event["args"]["phase"].get<std::string>()];
  }
  EXPECT_GT(events["prefill"], 10);
  EXPECT_EQ(events["decode"], 4 * events["prefill"]) << "each step does what the prefill does";
  EXPECT_GE(read("memory.json")["points"].size(), 1u);
  const Outcome page = run("report " + folder_.file("runs/x") + " -o " + folder_.file("r.html"));
  ASSERT_EQ(page.code, 0) << page.err;
  EXPECT_NE(read_text(folder_.file("r.html")).value().find("\"has_trace\":true"),
            std::string::npos);
}

// Results must not outlive what they were made from.
TEST_F(CliSweep, EditedTasksAndDataAreRunAnew) {
  const std::string task = folder_.file("mine.yaml"), data = folder_.file("mine.jsonl");
  const auto write_task = [&](const char* prompt) {
    test::write_file(task, std::string("task: mine\nversion: 1\noutput: generate\n") +
                               "data: {path: mine.jsonl}\nprompt: \"" + prompt +
                               "\"\ntarget: \"{{a}}\"\nstops: [\"\\n\"]\nmax_tokens: 4\n"
                               "metrics: [exact_match]\n");
  };
  write_task("{{q}} is");
  test::write_file(data, "{\"q\": \"one\", \"a\": \"1\"}\n");
  test::write_file(folder_.file("x.yaml"), "name: x\nmodels: [" + model() +
                                               "]\nvariants: {fp16: {format: f16}}\ntasks: [" +
                                               task + "]\n");
  const auto reused = [&] {
    const Outcome outcome = sweep();
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    return outcome.out.find("1 of 1 runs were finished before") != std::string::npos;
  };
  EXPECT_FALSE(reused());
  EXPECT_TRUE(reused());
  write_task("{{q}} makes");
  EXPECT_FALSE(reused()) << "another prompt";
  EXPECT_TRUE(reused());
  test::write_file(data, "{\"q\": \"two\", \"a\": \"2\"}\n");  // of the same size
  EXPECT_FALSE(reused()) << "other data";
  EXPECT_TRUE(reused());
}

TEST_F(CliSweep, UnknownVariantsAndKeysAreRefused) {
  EXPECT_EQ(sweep("--only int5").code, 2);
  std::ofstream(folder_.file("x.yaml"), std::ios::app) << "tsaks: []\n";
  const Outcome refused = sweep();
  EXPECT_EQ(refused.code, 2);
  EXPECT_NE(refused.err.find("tasks"), std::string::npos) << refused.err;
}

}  // namespace
}  // namespace lathe
