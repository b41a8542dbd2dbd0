// lathe profile, doctor and --kv end to end: what they report, not how fast it was.
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "support/files.h"

namespace lathe {
namespace {

using nlohmann::json;

// Standard output as JSON; null unless the program ends with code 0.
json result_of(const std::string& arguments) {
  const std::string command =
      std::string(LATHE_BINARY) + " " + arguments + " --json --quiet 2>/dev/null </dev/null";
  FILE* pipe = popen(command.c_str(), "r");
  std::string out;
  char buffer[4096];
  for (size_t got; (got = fread(buffer, 1, sizeof(buffer), pipe)) > 0;) out.append(buffer, got);
  const int code = WEXITSTATUS(pclose(pipe));
  EXPECT_EQ(code, 0) << command;
  return code == 0 ? json::parse(out) : json();
}

std::string model() { return test::source_file("models/tiny"); }

double value_of(const json& result, const std::string& metric) {
  for (const json& row : result["results"]) {
    if (row["metric"] == metric) return row["value"];
  }
  ADD_FAILURE() << "no row " << metric;
  return 0;
}

TEST(CliProfile, SlowBatchesRooflineAndTrace) {
  const test::TemporaryFolder folder;
  const std::string trace = folder.file("trace.json");
  const json result = result_of("profile " + model() +
                                " --prompt 8 --generate 4 --repetitions 1 --batch 1,2 --roofline "
                                "--threads 2 --trace " +
                                trace);
  ASSERT_TRUE(result.is_object());
  EXPECT_EQ(result["environment"]["kv"], "f32");
  std::set<int> batches;
  double decode = 0;
  for (const json& row : result["results"]) {
    const auto metric = row["metric"].get<std::string>();
    if (metric == "batched_decode_tokens_per_s") batches.insert(row["sequences"].get<int>());
    if (metric.rfind("decode_share_", 0) == 0) decode += row["value"].get<double>();
  }
  EXPECT_EQ(batches, (std::set<int>{1, 2}));
  EXPECT_NEAR(decode, 100, 0.5);
  const json events = json::parse(std::ifstream(trace))["traceEvents"];
  std::set<std::string> kinds;
  for (const json& e : events) kinds.insert(e["cat"].get<std::string>());
  for (const char* kind : {"embed", "linear", "norm", "attention", "rope"}) {
    EXPECT_EQ(kinds.count(kind), 1u) << kind;
  }
}

TEST(CliProfile, TypeOfTheCacheDecidesItsSize) {
  const std::string common =
      "profile " + model() + " --prompt 8 --generate 4 --repetitions 1 --kv ";
  const double f32 = value_of(result_of(common + "f32"), "kv_bytes");
  EXPECT_EQ(value_of(result_of(common + "bf16"), "kv_bytes"), f32 / 2);
  // Heads of 32: a byte each, and a scale of four.
  EXPECT_EQ(value_of(result_of(common + "int8"), "kv_bytes"), f32 * 36 / 128);
}

TEST(CliProfile, SlowTypeOfTheCacheHardlyMovesPerplexity) {
  const std::string common =
      "eval " + model() + " --tasks perplexity --set perplexity.window=128 --limit 4 --kv ";
  const double f32 = value_of(result_of(common + "f32"), "ppl");
  for (const char* type : {"f16", "bf16", "int8"}) {
    const double ppl = value_of(result_of(common + type), "ppl");
    EXPECT_NE(ppl, f32) << type;
    EXPECT_NEAR(ppl / f32, 1, 0.01) << type;
  }
}

TEST(CliProfile, UnknownTypeOfTheCache) {
  const std::string command =
      std::string(LATHE_BINARY) + " run " + model() + " -p x --kv fp16 2>&1 </dev/null";
  FILE* pipe = popen(command.c_str(), "r");
  char buffer[1024] = {};
  const size_t got = fread(buffer, 1, sizeof(buffer) - 1, pipe);
  EXPECT_EQ(WEXITSTATUS(pclose(pipe)), 2);
  EXPECT_NE(std::string(buffer, got).find("did you mean 'f16'?"), std::string::npos) << buffer;
}

TEST(CliDoctor, SlowOneThreadAndAll) {
  const json result = result_of("doctor --threads 2");
  ASSERT_TRUE(result.is_object());
  std::set<int> threads;
  for (const json& row : result["results"]) {
    EXPECT_GT(row["value"].get<double>(), 0) << row;
    if (row["metric"] == "read_gb_per_s") threads.insert(row["threads"].get<int>());
  }
  EXPECT_EQ(threads, (std::set<int>{1, 2}));
}

}  // namespace
}  // namespace lathe
