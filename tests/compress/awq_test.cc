// AWQ against the reference of tools/oracles/compress_scales.py, and the moves of factors between
// the tensors of a block.
#include "lathe/compress/passes/awq.h"

#include <cmath>

#include "compress/compress_test_util.h"
#include "compress/problem.h"
#include "lathe/compress/work_block.h"

namespace lathe {
namespace {

using test::cubed;
using test::noise;
using test::open;
using test::Problem;
using test::recipe_of;
using ::testing::HasSubstr;

nlohmann::json golden() {
  return nlohmann::json::parse(
      read_text(test::source_file("tests/golden/compress/scales.json")).value());
}

TEST(Awq, EqualsTheReference) {
  const nlohmann::json reference = golden();
  const int64_t rows = reference["rows"], cols = reference["columns"];
  const Problem p(rows, cols, reference["tokens"], cubed(rows * cols));
  ThreadPool pool(2);
  const OutputLoss loss = OutputLoss::create(p.stats, pool).value();
  std::vector<float> activity;
  std::vector<int32_t> channel_of;
  for (int64_t k = 0; k < cols; ++k) {
    activity.push_back(static_cast<float>(p.stats.absolute[size_t(k)] / double(p.tokens)));
    channel_of.push_back(static_cast<int32_t>(k));
  }
  for (const auto& [spec, expected] : reference["awq"].items()) {
    const AwqMatrix matrix{p.weights, rows, parse_format(spec).value()};
    const auto choice = awq_search({matrix}, activity, channel_of, loss, 20, pool);
    ASSERT_TRUE(choice.ok());
    const auto losses = expected["losses"].get<std::vector<double>>();
    EXPECT_NEAR(choice->exponent, expected["exponent"].get<double>(), 1e-9) << spec;
    EXPECT_NEAR(choice->plain_loss / losses[0], 1, 0.01) << spec;
    EXPECT_NEAR(choice->loss / *std::min_element(losses.begin(), losses.end()), 1, 0.01) << spec;
    const auto factors = expected["factors"].get<std::vector<float>>();
    for (size_t k = 0; k < factors.size(); ++k) {
      ASSERT_NEAR(choice->factors[k], factors[k], 1e-4f * factors[k]);
    }
  }
}

TEST(Awq, ChannelsThatWereNeverActive) {
  const int64_t rows = 4, cols = 64;
  Problem p = Problem::made_up(rows, cols, 32);
  ThreadPool pool(1);
  std::vector<int32_t> channel_of;
  for (int32_t k = 0; k < cols; ++k) channel_of.push_back(k);
  std::vector<float> activity(cols, 0.0f);
  const AwqMatrix matrix{p.weights, rows, parse_format("int4:g32").value()};
  LinearStats stats = p.stats;
  std::fill(stats.gram.begin(), stats.gram.end(), 0.0);
  auto choice =
      awq_search({matrix}, activity, channel_of, OutputLoss::create(stats, pool).value(), 20, pool);
  ASSERT_TRUE(choice.ok());
  EXPECT_EQ(choice->exponent, 0);  // nothing to gain
  for (int64_t k = 1; k < cols; ++k) activity[size_t(k)] = static_cast<float>(1 + k * k);
  choice = awq_search({matrix}, activity, channel_of, OutputLoss::create(p.stats, pool).value(), 20,
                      pool);
  ASSERT_TRUE(choice.ok());
  EXPECT_EQ(choice->factors[0], 1.0f);
  stats.gram[3] = INFINITY;
  EXPECT_THAT(OutputLoss::create(stats, pool).error().message, HasSubstr("not finite"));
}

// Factors of up to e² either way through every fold of every block.
TEST(Folds, LeaveWhatTheModelComputes) {
  ThreadPool pool(2);
  for (const char* name : {"llama", "llama-tied-bias", "mistral", "qwen2", "qwen3", "gemma",
                           "gemma2", "gemma3", "phi2", "phi3", "opt", "gpt2"}) {
    const auto source = open(test::family(name));
    CurrentModel scaled(*source);
    uint64_t at = 0;
    for (int64_t layer = 0; layer < source->config().layers; ++layer) {
      WorkBlock block(scaled, layer, nullptr, nullptr);
      for (const ScaleFold& fold : scale_folds(source->config(), layer)) {
        std::vector<float> factors;
        for (int64_t c = 0; c < fold.channels; ++c) {
          factors.push_back(static_cast<float>(std::exp(4 * noise(at++))));
        }
        const Status applied = block.apply(fold, factors, pool);
        ASSERT_TRUE(applied.ok()) << name << ": " << applied.error().message;
      }
    }
    ASSERT_GE(scaled.transformed.size(), 4u) << name;
    const std::vector<float> before = test::logits_of(*source), after = test::logits_of(scaled);
    ASSERT_EQ(before.size(), after.size());
    float most = 0, apart = 0;
    for (size_t i = 0; i < before.size(); ++i) {
      most = std::max(most, std::fabs(before[i]));
      apart = std::max(apart, std::fabs(before[i] - after[i]));
    }
    EXPECT_GT(most, 0) << name;
    EXPECT_LE(apart, 2e-5f * most) << name;
  }
}

nlohmann::json calibration() {
  return {{"data", test::source_file("models/tiny/data/calibration.txt")},
          {"samples", 4},
          {"length", 64}};
}

TEST(Awq, TheSameBytesOnAnyNumberOfThreadsSlow) {
  const auto source = open(test::source_file("models/tiny"));
  const Recipe recipe =
      recipe_of({{"format", "int3:g64"}, {"method", "awq"}, {"calibration", calibration()}});
  test::TemporaryFolder folder;
  std::map<std::string, std::string> first;
  for (const int threads : {1, 3}) {
    ThreadPool pool(threads);
    const std::string out = folder.file(std::to_string(threads));
    const auto report = compress(*source, recipe, out, pool);
    ASSERT_TRUE(report.ok()) << report.error().message;
    if (first.empty()) {
      first = test::contents(out);
    } else {
      EXPECT_EQ(first, test::contents(out));
    }
  }
  // The norms went along.
  const auto stored = open(folder.file("1"));
  const std::string norm = "model.layers.0.input_norm";
  EXPECT_NE(stored->vector(norm, source->config().hidden).value(),
            source->vector(norm, source->config().hidden).value());
}

TEST(Awq, Recipes) {
  const auto message = [](const nlohmann::json& json) {
    const auto recipe = recipe_from_json(json);
    return recipe.ok() ? std::string() : recipe.error().message;
  };
  const nlohmann::json data = calibration();
  EXPECT_EQ(message({{"format", "int4:g32"}, {"method", "awq+gptq"}, {"calibration", data}}), "");
  EXPECT_EQ(
      recipe_of({{"format", "int4:g32"}, {"method", "awq"}, {"calibration", data}}).hash(),
      recipe_of({{"format", "int4:g32"}, {"method", "awq+clip"}, {"calibration", data}}).hash());
  EXPECT_THAT(message({{"format", "int4:g32"}, {"method", "gptq+awq"}, {"calibration", data}}),
              HasSubstr("'gptq' cannot stand before another pass"));
  EXPECT_THAT(
      message({{"passes", {{{"rtn", {{"format", "int4:g32"}}}}, {{"awq", {{"steps", 20}}}}}},
               {"calibration", data}}),
      HasSubstr("'awq' comes after a pass that prunes or rounds"));
  ThreadPool pool(1);
  test::TemporaryFolder folder;
  const auto source = open(test::family("qwen2"));
  const auto report = compress(*source, recipe_of({{"passes", {{{"awq", {{"steps", 20}}}}}}}),
                               folder.file("x"), pool);
  ASSERT_FALSE(report.ok());
  EXPECT_THAT(report.error().message, HasSubstr("names none"));
}

}  // namespace
}  // namespace lathe
