// Rotations that fold into the weights: orthogonal, without effect on what a model computes, and
// refused where they cannot be folded.
#include <cmath>

#include "compress/compress_test_util.h"
#include "lathe/compress/hadamard.h"
#include "lathe/compress/pass.h"

namespace lathe {
namespace {

using test::logits_of;
using test::open;
using test::recipe_of;
using ::testing::HasSubstr;

// 2^k; Paley's first construction (12, 20, 28, 44, 60, 24 = 2 · 12), his second (36, 52 is none:
// 104 is the first), and hidden sizes of real models.
TEST(Hadamard, IsOrthogonalInManyOrders) {
  ThreadPool pool(2);
  for (const int64_t n :
       {1, 2, 4, 8, 12, 20, 24, 28, 36, 44, 60, 64, 76, 104, 128, 576, 640, 896}) {
    const auto rotation = Rotation::create(n, 3);
    ASSERT_TRUE(rotation.has_value()) << n;
    std::vector<float> q(static_cast<size_t>(n * n));
    for (int64_t i = 0; i < n; ++i) q[size_t(i * n + i)] = 1;
    rotation->rotate_rows(q.data(), n, pool);  // I · Q
    const double each = 1 / std::sqrt(static_cast<double>(n));
    for (const float value : q) ASSERT_NEAR(std::fabs(value), each, 1e-6) << n;
    for (int64_t i = 0; i < n; i += std::max<int64_t>(1, n / 16)) {
      for (int64_t j = 0; j < n; ++j) {
        double dot = 0;
        for (int64_t k = 0; k < n; ++k) {
          dot += double{q[size_t(i * n + k)]} * double{q[size_t(j * n + k)]};
        }
        ASSERT_NEAR(dot, i == j, 1e-5) << n << ": rows " << i << " and " << j;
      }
    }
    // Qᵀ · Q = I, by columns.
    rotation->rotate_columns(q.data(), n, pool);
    for (int64_t i = 0; i < n * n; ++i) {
      ASSERT_NEAR(q[size_t(i)], i / n == i % n, 2e-5) << n;
    }
  }
  for (const int64_t n : {0, 3, 6, 10, 14}) EXPECT_FALSE(Rotation::create(n, 1).has_value()) << n;
}

TEST(Rotate, LeavesWhatTheModelComputes) {
  ThreadPool pool(2);
  const Pass* pass = find_pass("rotate").value();
  for (const char* name : {"llama", "llama-tied-bias", "mistral", "qwen2", "qwen2-tied", "qwen3",
                           "gemma", "phi3", "gemma2", "gemma3", "phi2", "opt", "gpt2"}) {
    const auto source = open(test::family(name));
    const ModelConfig& c = source->config();
    const bool stream = c.norm == NormKind::kRms && !c.output_norms;
    for (const bool heads : {false, true}) {
      if (!stream && !heads) continue;
      const nlohmann::json parameters =
          check_parameters(*pass, {{"stream", stream}, {"heads", heads}}).value();
      const auto rotated = pass->reshape(*source, {parameters, pool, nullptr});
      ASSERT_TRUE(rotated.ok()) << name << ": " << rotated.error().message;
      EXPECT_EQ(rotated->model->config().tied, c.tied && !stream) << name;
      const std::vector<float> before = logits_of(*source), after = logits_of(*rotated->model);
      ASSERT_EQ(before.size(), after.size()) << name;
      float most = 0, apart = 0;
      for (size_t i = 0; i < before.size(); ++i) {
        most = std::max(most, std::fabs(before[i]));
        apart = std::max(apart, std::fabs(before[i] - after[i]));
      }
      EXPECT_GT(most, 0) << name;
      EXPECT_LE(apart, 2e-5f * most) << name << " heads: " << heads;
    }
  }
}

// What rotation is for: one channel that sticks out is spread over all of them.
TEST(Rotate, SpreadsOutliers) {
  ThreadPool pool(1);
  std::vector<float> row(256, 0.01f);
  row[17] = 4;
  Rotation::create(256, 1)->rotate_rows(row.data(), 1, pool);
  for (const float value : row) EXPECT_LT(std::fabs(value), 0.45f);
}

TEST(Rotate, GivesAModelThatIsReadBackSlow) {
  const auto source = open(test::source_file("models/tiny"));
  const Recipe recipe = recipe_of({{"format", "f16"}, {"method", "rotate+rtn"}});
  ASSERT_EQ(recipe.steps.size(), 2u);
  test::TemporaryFolder folder;
  ThreadPool pool(2);
  const auto report = compress(*source, recipe, folder.file("out"), pool);
  ASSERT_TRUE(report.ok()) << report.error().message;
  const auto rotated = open(folder.file("out"));
  EXPECT_FALSE(rotated->config().tied);
  const auto files = test::contents(folder.file("out"));
  EXPECT_EQ(nlohmann::json::parse(files.at("config.json"))["tie_word_embeddings"], false);
  // The same model, but for the rounding to f16.
  const std::vector<float> before = logits_of(*source), after = logits_of(*rotated);
  double dot = 0, a = 0, b = 0;
  for (size_t i = 0; i < before.size(); ++i) {
    dot += double{before[i]} * double{after[i]};
    a += double{before[i]} * double{before[i]};
    b += double{after[i]} * double{after[i]};
  }
  EXPECT_GT(dot / std::sqrt(a * b), 0.9999);
  // "rotate" alone rounds to nearest.
  EXPECT_EQ(recipe_of({{"format", "f16"}, {"method", "rotate"}}).hash(), recipe.hash());
}

TEST(Rotate, Refusals) {
  const auto refusal = [](const char* model, const nlohmann::json& parameters) {
    test::TemporaryFolder folder;
    ThreadPool pool(1);
    const auto recipe =
        recipe_from_json({{"passes", {{{"rotate", parameters}}, {{"rtn", {{"format", "f32"}}}}}}});
    if (!recipe.ok()) return recipe.error().message;
    const auto report = compress(*open(test::family(model)), *recipe, folder.file("out"), pool);
    EXPECT_FALSE(report.ok());
    return report.ok() ? "" : report.error().message;
  };
  EXPECT_THAT(refusal("opt", nullptr), HasSubstr("its norms subtract a mean"));
  EXPECT_THAT(refusal("phi2", nullptr), HasSubstr("its norms subtract a mean"));
  EXPECT_THAT(refusal("gemma2", nullptr), HasSubstr("behind attention and MLP"));
  EXPECT_THAT(refusal("llama", {{"stream", false}, {"heads", false}}), HasSubstr("neither"));
  EXPECT_THAT(refusal("llama", {{"seed", 0}}), HasSubstr("from 1 to 1000000"));
  EXPECT_THAT(refusal("llama", {{"signs", 1}}), HasSubstr("unknown key 'signs'"));
}

}  // namespace
}  // namespace lathe
