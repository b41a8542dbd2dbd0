// Calibrated on the test: the preflight says so.
#include "cli_support.h"

namespace lathe {
namespace {

TEST(CliOverlap, SlowCalibrationOnTheTestIsWarnedOf) {
  test::TemporaryFolder folder;
  const std::string text = test::tiny() + "/data/text.txt", yaml = folder.file("x.yaml");
  test::write_file(yaml, "name: x\nmodels: [" + test::tiny() +
                             "]\nbaseline: fp16\nvariants:\n  fp16: {format: f16}\n"
                             "  seen: {format: \"int4:g32\", method: gptq, calibration: {data: " +
                             text +
                             ", samples: 2, length: 32}}\n"
                             "tasks: [{perplexity: {window: 128, limit: 1, data: " +
                             text + "}}]\n");
  const auto outcome = test::run("sweep " + yaml + " --threads 2 -o " + folder.file("runs"));
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const auto preflight = [&](const char* variant) {
    const auto run = nlohmann::json::parse(
        read_text(folder.file(std::string("runs/x/") + variant + "/run.json")).value());
    return run["tasks"][0]["preflight"];
  };
  EXPECT_EQ(preflight("seen")["calibration_overlap"]["percent"], 100.0);
  const std::string words = "100.0 % of the test's 13-grams occur in the calibration text";
  EXPECT_NE(preflight("seen")["warnings"].dump().find(words), std::string::npos);
  EXPECT_NE(outcome.err.find(words), std::string::npos) << outcome.err;
  EXPECT_FALSE(preflight("fp16").contains("calibration_overlap"));
}

TEST(CliOverlap, EvalTellsItOfATextThatIsNamed) {
  const std::string text = test::tiny() + "/data/text.txt";
  const std::string evaluate =
      "eval bundled --tasks perplexity --limit 1 --set perplexity.window=64 "
      "--json --threads 2 --calibration ";
  const auto outcome = test::run(evaluate + text);
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const auto preflight = nlohmann::json::parse(outcome.out)["preflight"]["perplexity"];
  EXPECT_EQ(preflight["calibration_overlap"]["percent"], 100.0);
  EXPECT_NE(outcome.err.find("warning: 100.0 % of the test's"), std::string::npos) << outcome.err;
  test::expect_one_error(test::run(evaluate + "/no/such.txt"), 2, {"/no/such.txt"});
}

}  // namespace
}  // namespace lathe
