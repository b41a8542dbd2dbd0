// analyze and plan through the built program: kills, budgets, and a plan that is what it says.
#include "cli_support.h"

namespace lathe {
namespace {

class SlowPlan : public ::testing::Test {
 protected:
  std::string options(const std::string& folder) const {
    return " " + test::tiny() + " -a " + folder_.file(folder) +
           " --candidates int8:row int4:g128 --samples 6 --sample-length 128"
           " --calibration-samples 2 --no-times --threads 1 --quiet";
  }
  std::string rows(const std::string& folder) const {
    const auto text = read_text(folder_.file(folder) + "/rows.jsonl");
    return text.ok() ? *text : "";
  }
  test::TemporaryFolder folder_;
};

TEST_F(SlowPlan, KilledAnalysisEndsWithTheSameRows) {
  ASSERT_EQ(test::run("analyze" + options("whole")).code, 0);
  {
    test::Process process({"analyze", test::tiny(), "-a", folder_.file("killed"), "--candidates",
                           "int8:row", "int4:g128", "--samples", "6", "--sample-length", "128",
                           "--calibration-samples", "2", "--no-times", "--threads", "1"});
    EXPECT_TRUE(test::wait_until(process, [&] { return rows("killed").size() > 2000; }));
    process.kill_group();
  }
  EXPECT_LT(rows("killed").size(), rows("whole").size());
  // A line that the kill has cut short.
  std::ofstream(folder_.file("killed") + "/rows.jsonl", std::ios::app) << "{\"matrix\": \"mod";
  const test::Outcome resumed = test::run("analyze" + options("killed") + " --json");
  ASSERT_EQ(resumed.code, 0) << resumed.err;
  EXPECT_EQ(rows("killed"), rows("whole"));
  // 28 matrices and the table, in three candidates.
  EXPECT_EQ(nlohmann::json::parse(resumed.out)["rows"].size(), 87u);
  test::expect_one_error(test::run("analyze" + options("killed") + " --seed 5"), 2,
                         {"was made with another", "--analysis"});
}

TEST_F(SlowPlan, PlansAreWithinTheirBudgetsAndSayWhatIsImpossible) {
  const std::string yaml = folder_.file("r.yaml");
  const test::Outcome planned =
      test::run("plan" + options("a") + " --budget 8bpw --budget 4MB --keep '*.0.*down_proj' -o " +
                yaml + " --verify --json");
  ASSERT_EQ(planned.code, 0) << planned.err;
  std::map<std::string, double> value;
  const auto json = nlohmann::json::parse(planned.out);
  for (const auto& row : json["results"]) value[row["metric"]] = row["value"];
  EXPECT_LE(value["bits_per_weight"], 8);
  EXPECT_LE(value["disk_bytes"], 3672320.0);
  EXPECT_LE(value["additive_kl_bound"], value["additive_kl"]);
  EXPECT_GT(value["kl_mean"], 0);
  EXPECT_NEAR(value["predicted_kl"], value["kl_mean"], 0.3 * value["kl_mean"]);
  const std::string out = folder_.file("model");
  ASSERT_EQ(test::run("compress " + test::tiny() + " -r " + yaml + " -o " + out).code, 0);
  const auto inspected = nlohmann::json::parse(test::run("inspect --json " + out).out);
  double bytes = 0;
  for (const auto& row : inspected["results"]) {
    if (row["format"] == "stored") bytes = row["value"];
  }
  EXPECT_EQ(bytes, value["disk_bytes"]);
  for (const auto& matrix : inspected["model"]["matrices"]) {
    if (matrix["name"] == "model.layers.0.mlp.down_proj") EXPECT_EQ(matrix["format"], "bf16");
  }
}

// What can be said of budgets before anything is measured, and what the analysis makes impossible.
TEST_F(SlowPlan, BadInput) {
  const auto refused = [&](const std::string& given, int code,
                           const std::vector<std::string>& pieces) {
    SCOPED_TRACE(given);
    test::expect_one_error(test::run("plan" + options("a") + " " + given), code, pieces);
  };
  for (const char* budget :
       {"3", "0bpw", "3xb", "-1GB", "4.5", "GB", "1e3MB", "4.5BPW", "1.2.3GB", "30tok/min"}) {
    refused(std::string("--budget=") + budget, 2, {std::string("budget '") + budget, "4.5bpw"});
  }
  refused("--budget 9bpw --budget 4bpw", 2, {"in this unit already"});
  refused("--budget 4bpw --candidates int5:g4", 2, {"candidate 'int5:g4'"});
  refused("--budget 4bpw --prune-method gptq", 2, {"prune", "gptq"});
  ASSERT_FALSE(std::filesystem::exists(folder_.file("a") + "/rows.jsonl"));

  ASSERT_EQ(test::run("analyze" + options("a")).code, 0);
  refused("--budget 1MB", 3, {"1.000 MB is impossible", "smallest possible is", "bits per weight"});
  refused("--budget 5bpw --keep '*=bf16'", 3, {"impossible", "--keep"});
  refused("--budget 9bpw --keep nope", 2, {"--keep 'nope'", "no matrix"});
  refused("--budget 9bpw --keep '*=nf4:b64'", 2,
          {"nf4:b64 is not in the analysis", "--candidates"});
  refused("--budget 9bpw --keep '*.up_proj=int4:g128' --keep '*up_proj=int8:row'", 2,
          {"'*.up_proj=int4:g128' decides nothing", "'*up_proj=int8:row'"});
  refused("--budget 9bpw --keep '*=sparse24:int8:row@0.3'", 2, {"--keep", "2:4"});
  refused("--budget 30tok/s", 2, {"no kernel times"});
  // Of another model: the same architecture, other weights.
  const std::string other = folder_.file("other");
  ASSERT_EQ(test::run("compress " + test::tiny() + " --format int8:row -o " + other).code, 0);
  test::expect_one_error(
      test::run("plan " + other + " -a " + folder_.file("a") + " --data " + test::tiny() +
                "/data/calibration.txt --budget 5bpw --samples 6 --sample-length 128"
                " --calibration-samples 2 --no-times"),
      2, {"was made with another model_hash", "--analysis"});
  test::write_file(folder_.file("a") + "/rows.jsonl", "{\"matrix\": 3}\n");
  refused("--budget 5bpw", 2, {"rows.jsonl", "'matrix'"});
}

// Sparse layouts are candidates like others, with every way of pruning.
TEST_F(SlowPlan, SparseLayoutsAreChosenWhereTheyFitTheBudget) {
  for (const std::string prune : {"magnitude", "wanda", "sparsegpt"}) {
    SCOPED_TRACE(prune);
    const std::string yaml = folder_.file(prune + ".yaml");
    const test::Outcome planned = test::run(
        "plan " + test::tiny() + " -a " + folder_.file(prune) + " --prune-method " + prune +
        " --candidates int4:g64 sparse:int4:g64@0.5 sparse24:int4:g64 --samples 4"
        " --sample-length 128 --calibration-samples 4 --no-times --threads 1 --quiet --additive"
        " --budget 3.6bpw --keep '*.2.*=sparse24:int4:g64' --verify --json -o " +
        yaml);
    ASSERT_EQ(planned.code, 0) << planned.err;
    std::map<std::string, double> value;
    const auto json = nlohmann::json::parse(planned.out);
    for (const auto& row : json["results"]) value[row["metric"]] = row["value"];
    EXPECT_LE(value["bits_per_weight"], 3.6);
    EXPECT_NEAR(value["measured_bytes"], value["disk_bytes"], 0.005 * value["disk_bytes"]);
    const std::string out = folder_.file(prune + "-model");
    ASSERT_EQ(test::run("compress " + test::tiny() + " -r " + yaml + " -o " + out).code, 0);
    const auto description = nlohmann::json::parse(read_text(out + "/lathe.json").value());
    std::map<std::string, int> formats;
    for (const auto& layer : description["layers"]) {
      const std::string format = layer["format"];
      ++formats[format];
      if (format.starts_with("sparse")) EXPECT_GE(layer["sparsity"], 0.499) << layer;
      const bool kept = layer["name"].get<std::string>().find(".2.") != std::string::npos;
      if (kept) EXPECT_EQ(format, "sparse24:int4:g64") << layer;
    }
    EXPECT_GE(formats["sparse24:int4:g64"], 7);
    EXPECT_GT(formats["sparse:int4:g64"], 0);
    EXPECT_GT(formats["int4:g64"], 0);
  }
}

// Speeds are checked for being there and in proportion; how close they come depends on the machine.
TEST_F(SlowPlan, ABudgetOfSpeedIsPlannedAndMeasured) {
  const std::string given = " " + test::tiny() + " -a " + folder_.file("a") +
                            " --candidates int8:row int4:g128 --samples 2 --sample-length 64"
                            " --calibration-samples 2 --threads 1 --quiet --additive";
  const auto impossible = test::run("plan" + given + " --budget 10000000tok/s");
  test::expect_one_error(impossible, 3, {"10000000 tok/s is impossible", "fastest possible is"});
  const test::Outcome planned =
      test::run("plan" + given + " --budget 10tok/s --budget 5bpw --verify --json");
  ASSERT_EQ(planned.code, 0) << planned.err;
  std::map<std::string, double> value;
  const auto json = nlohmann::json::parse(planned.out);
  for (const auto& row : json["results"]) value[row["metric"]] = row["value"];
  EXPECT_LE(value["bits_per_weight"], 5);
  EXPECT_GE(value["predicted_tokens_per_s"], 10);
  EXPECT_GT(value["decode_tokens_per_s"], 0);
  EXPECT_GT(value["predicted_speedup"], value["speedup"] / 3);
  EXPECT_LT(value["predicted_speedup"], value["speedup"] * 3);
  // A second analysis adds what is missing and leaves the times that are there.
  const std::string times = folder_.file("a") + "/times.jsonl";
  const std::string before = read_text(times).value();
  ASSERT_EQ(
      test::run("analyze" + given.substr(0, given.find(" --additive")) + " --candidates nf4:b64")
          .code,
      0);
  const std::string after = read_text(times).value();
  EXPECT_TRUE(after.starts_with(before));
  EXPECT_NE(after.find("nf4:b64"), std::string::npos);
}

}  // namespace
}  // namespace lathe
