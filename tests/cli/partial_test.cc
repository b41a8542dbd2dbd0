// A task that fails takes nothing else of its run with it, and the next sweep repeats it alone.
#include <map>

#include "cli_support.h"

namespace lathe {
namespace {

using nlohmann::json;

class SlowPartial : public ::testing::Test {
 protected:
  void SetUp() override {
    test::write_file(folder_.file("x.yaml"),
                     "name: x\nmodels: [" + test::tiny() +
                         "]\nbaseline: fp16\nvariants:\n"
                         "  fp16: {format: f16}\n  int4: {format: \"int4:g32\"}\n"
                         "tasks:\n  - gsm8k: {limit: 2, max_tokens: 8, data: " +
                         data() + "}\n" +
                         "  - perplexity: {convention: hf-stride, window: 128, stride: 128, "
                         "limit: 3}\nprobes: [size, memory]\n");
    const std::string good = read_text(test::tiny() + "/data/gsm8k.jsonl").value();
    good_ = good.substr(0, good.find('\n', good.find('\n') + 1) + 1);
  }
  std::string data() const { return folder_.file("rows.jsonl"); }
  std::string file(const std::string& runs, const char* variant, const char* name) const {
    return folder_.file(runs + "/x/" + variant + "/" + name);
  }
  test::Outcome sweep(const std::string& runs) const {
    return test::run("sweep " + folder_.file("x.yaml") + " --threads 2 -o " + folder_.file(runs));
  }
  json run_of(const std::string& runs, const char* variant) const {
    return json::parse(read_text(file(runs, variant, "run.json")).value());
  }
  // "task/metric" → the row. Peaks of memory depend on what one process did, and are left out.
  static std::map<std::string, json> rows_of(const json& run) {
    std::map<std::string, json> out;
    for (const auto& row : run["results"]) {
      if (row["task"] == "memory") continue;
      out[row["task"].get<std::string>() + "/" + row["metric"].get<std::string>()] = row;
    }
    return out;
  }
  test::TemporaryFolder folder_;
  std::string good_;  // two rows
};

TEST_F(SlowPartial, TheOthersGiveTheirFiguresAndTheFailedOneIsRepeatedAlone) {
  test::write_file(data(), good_.substr(0, good_.find('\n') + 1) + "{\"question\": \"cut\n");
  const auto broken = sweep("runs");
  EXPECT_EQ(broken.code, 1) << broken.err;
  for (const char* variant : {"fp16", "int4"}) {
    SCOPED_TRACE(variant);
    const json run = run_of("runs", variant);
    EXPECT_EQ(run["status"], "partial");
    ASSERT_EQ(run["failures"].size(), 1u);
    EXPECT_EQ(run["failures"][0]["name"], "task/gsm8k");
    EXPECT_NE(run["error"].get<std::string>().find(data() + ":2"), std::string::npos) << run;
    const auto rows = rows_of(run);
    EXPECT_TRUE(rows.contains("perplexity/ppl"));
    EXPECT_TRUE(rows.contains("size/weights_bytes"));
    EXPECT_NE(run["results"].dump().find("\"kv_bytes\""), std::string::npos);
    for (const auto& [name, row] : rows) EXPECT_NE(row["task"], "gsm8k");
  }
  EXPECT_NE(run_of("runs", "int4")["results"].dump().find("baseline_delta"), std::string::npos);
  const std::string table = read_text(folder_.file("runs/x/results.md")).value();
  for (const std::string& text : {table, broken.out}) {
    EXPECT_NE(text.find("fp16, int4 failed in part: task/gsm8k: "), std::string::npos) << text;
  }
  EXPECT_NE(read_text(folder_.file("runs/x/report.html")).value().find("\"partial\""),
            std::string::npos);
  EXPECT_NE(test::run("report " + folder_.file("runs")).out.find("failed in part"),
            std::string::npos);

  // Repaired: what was done before stays as it is, to the byte.
  std::map<std::string, std::string> before;
  for (const char* variant : {"fp16", "int4"}) {
    before[variant] = read_text(file("runs", variant, "samples.jsonl")).value();
    ASSERT_NE(before[variant].find("perplexity"), std::string::npos);
  }
  test::write_file(data(), good_);
  const auto repaired = sweep("runs");
  ASSERT_EQ(repaired.code, 0) << repaired.err;
  ASSERT_EQ(sweep("whole").code, 0);
  for (const char* variant : {"fp16", "int4"}) {
    SCOPED_TRACE(variant);
    const json run = run_of("runs", variant);
    EXPECT_EQ(run["status"], "done");
    EXPECT_TRUE(run["error"].is_null());
    EXPECT_FALSE(run.contains("failures"));
    EXPECT_TRUE(
        read_text(file("runs", variant, "samples.jsonl")).value().starts_with(before[variant]));
    int perplexities = 0;
    const json measured = json::parse(read_text(file("runs", variant, "measured.json")).value());
    for (const auto& t : measured["timings"]) perplexities += t["name"] == "task/perplexity";
    EXPECT_EQ(perplexities, 1);
    EXPECT_EQ(rows_of(run), rows_of(run_of("whole", variant)));
  }
  const auto third = sweep("runs");
  EXPECT_EQ(third.code, 0);
  EXPECT_NE(third.out.find("2 of 2 runs were finished before"), std::string::npos) << third.out;
}

TEST_F(SlowPartial, EditedDataRepeatsItsTaskAlone) {
  test::write_file(data(), good_);
  ASSERT_EQ(sweep("runs").code, 0);
  test::write_file(data(), good_ + good_);
  const auto edited = sweep("runs");
  EXPECT_EQ(edited.code, 0) << edited.err;
  const json measured = json::parse(read_text(file("runs", "int4", "measured.json")).value());
  std::map<std::string, int> times;
  for (const auto& t : measured["timings"]) ++times[t["name"].get<std::string>()];
  EXPECT_EQ(times["task/perplexity"], 1);
  EXPECT_EQ(times["task/gsm8k"], 2);
  EXPECT_EQ(run_of("runs", "int4")["status"], "done");
}

// A file that is not there at all, and a probe that cannot be: the run keeps the rest.
TEST_F(SlowPartial, MissingDataAndAProbeThatDoesNotFit) {
  std::string text = read_text(folder_.file("x.yaml")).value();
  text.replace(text.find("[size, memory]"), 14, "[size, {latency: {prompt: 1000000}}]");
  test::write_file(folder_.file("x.yaml"), text);
  const auto outcome = sweep("runs");
  EXPECT_EQ(outcome.code, 1) << outcome.err;
  const json run = run_of("runs", "fp16");
  EXPECT_EQ(run["status"], "partial");
  ASSERT_EQ(run["failures"].size(), 2u) << run["failures"];
  EXPECT_EQ(run["failures"][0]["name"], "task/gsm8k");
  EXPECT_EQ(run["failures"][1]["name"], "probe/latency");
  const auto rows = rows_of(run);
  EXPECT_TRUE(rows.contains("perplexity/ppl"));
  EXPECT_TRUE(rows.contains("size/weights_bytes"));
}

}  // namespace
}  // namespace lathe
