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
  test::expect_one_error(test::run("plan" + options("a") + " --budget 1MB"), 3,
                         {"1.000 MB is impossible", "smallest possible is", "bits per weight"});
  test::expect_one_error(test::run("plan" + options("a") + " --budget 3"), 2,
                         {"budget '3'", "4.5bpw"});
  test::expect_one_error(test::run("plan" + options("a") + " --budget 9bpw --budget 4bpw"), 2,
                         {"in this unit already"});
  test::expect_one_error(test::run("plan" + options("a") + " --budget 9bpw --keep nope"), 2,
                         {"--keep 'nope'", "no matrix"});
  test::expect_one_error(test::run("plan" + options("a") + " --budget 30tok/s"), 2,
                         {"no kernel times"});
}

}  // namespace
}  // namespace lathe
