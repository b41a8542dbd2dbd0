// Pruning, alone and with quantization in either order.
#include <cmath>

#include "compress/compress_test_util.h"

namespace lathe {
namespace {

using test::family;
using test::matrix_of;
using test::open;
using test::recipe_of;

class Prune : public ::testing::Test {
 protected:
  std::unique_ptr<const Checkpoint> run(const nlohmann::json& recipe) {
    const std::string out = folder_.file(std::to_string(runs_++));
    const auto report = compress(*source_, recipe_of(recipe), out, pool_);
    EXPECT_TRUE(report.ok()) << recipe << ": " << report.error().message;
    return report.ok() ? open(out) : nullptr;
  }

  static int64_t share(double sparsity, int64_t count) {
    return std::llround(sparsity * static_cast<double>(count));
  }

  ThreadPool pool_{2};
  test::TemporaryFolder folder_;
  std::unique_ptr<const Checkpoint> source_ = open(family("llama"));
  int runs_ = 0;
};

TEST_F(Prune, ExactlyTheSmallestOfEachMatrix) {
  for (const double sparsity : {0.0, 0.2, 0.333, 0.5, 0.95}) {
    const auto stored = run({{"prune", {{"method", "magnitude"}, {"sparsity", sparsity}}}});
    ASSERT_TRUE(stored);
    for (const MatrixInfo& info : matrices_of(source_->config())) {
      const auto before = matrix_of(*source_, info).decode();
      const auto after = matrix_of(*stored, info).decode();
      if (info.layer < 0) {
        EXPECT_EQ(after, before) << info.name;
        continue;
      }
      EXPECT_EQ(test::zeros_in(after), share(sparsity, info.rows * info.cols)) << info.name;
      float largest_gone = 0, smallest_left = INFINITY;
      for (size_t i = 0; i < after.size(); ++i) {
        if (after[i] == 0) {
          largest_gone = std::max(largest_gone, std::fabs(before[i]));
        } else {
          EXPECT_EQ(after[i], before[i]);
          smallest_left = std::min(smallest_left, std::fabs(before[i]));
        }
      }
      EXPECT_LE(largest_gone, smallest_left) << info.name;
    }
  }
}

TEST_F(Prune, TheSameShareOfEachRow) {
  const auto stored =
      run({{"prune", {{"method", "magnitude"}, {"sparsity", 0.25}, {"scope", "row"}}}});
  ASSERT_TRUE(stored);
  for (const MatrixInfo& info : matrices_of(source_->config())) {
    if (info.layer < 0) continue;
    const auto after = matrix_of(*stored, info).decode();
    for (int64_t r = 0; r < info.rows; ++r) {
      EXPECT_EQ(
          std::count(after.begin() + r * info.cols, after.begin() + (r + 1) * info.cols, 0.0f),
          share(0.25, info.cols))
          << info.name;
    }
  }
}

// What is pruned to a pattern fits the layout that is made for it: nothing else is lost.
TEST_F(Prune, PatternsByMagnitudeFillTheirLayouts) {
  for (const int of : {4, 8}) {
    nlohmann::json recipe = {{"prune",
                              {{"method", "magnitude"},
                               {"sparsity", 0.5},
                               {"pattern", fmt::format("{}:{}", of / 2, of)}}},
                             {"format", "bf16"}};
    const auto dense = run(recipe);
    const std::string layout = fmt::format("sparse{}{}:bf16", of / 2, of);
    recipe["format"] = layout;
    const auto packed = run(recipe);
    for (const MatrixInfo& info : matrices_of(source_->config())) {
      if (info.layer < 0) continue;
      const auto weights = matrix_of(*packed, info).decode();
      EXPECT_EQ(matrix_of(*packed, info).format().spec(), layout);
      EXPECT_EQ(weights, matrix_of(*dense, info).decode()) << info.name;
      for (size_t i = 0; i < weights.size(); i += static_cast<size_t>(of)) {
        EXPECT_EQ(std::count(weights.begin() + static_cast<int64_t>(i),
                             weights.begin() + static_cast<int64_t>(i) + of, 0.0f),
                  of / 2);
      }
    }
  }
}

// An override's pattern holds for its matrices, whatever the pass does to the others.
TEST_F(Prune, AnOverrideHasItsOwnPattern) {
  const auto stored =
      run({{"prune", {{"method", "magnitude"}, {"sparsity", 0.25}}},
           {"format", "bf16"},
           {"overrides",
            {{{"match", "model.layers.0.*"}, {"pattern", "2:4"}, {"format", "sparse24:bf16"}},
             {{"match", "model.layers.0.*.down_proj"}, {"sparsity", 0}, {"format", "f32"}}}}});
  for (const MatrixInfo& info : matrices_of(source_->config())) {
    if (info.layer < 0) continue;
    const auto weights = matrix_of(*stored, info).decode();
    const auto zeros = [&](int64_t begin, int64_t count) {
      return std::count(weights.begin() + begin, weights.begin() + begin + count, 0.0f);
    };
    if (info.layer > 0) {
      EXPECT_EQ(zeros(0, std::ssize(weights)), std::ssize(weights) / 4) << info.name;
    } else if (info.name.ends_with("down_proj")) {
      EXPECT_EQ(weights, matrix_of(*source_, info).decode());
    } else {
      for (int64_t i = 0; i < std::ssize(weights); i += 4) ASSERT_EQ(zeros(i, 4), 2) << info.name;
    }
  }
}

TEST_F(Prune, GlobalThresholdIsOneForAll) {
  const auto stored = run({{"prune",
                            {{"method", "magnitude"},
                             {"sparsity", 0.3},
                             {"scope", "global"},
                             {"include", {"lm_head"}}}},
                           {"overrides", {{{"match", "*.0.*up_proj"}, {"sparsity", 0.7}}}}});
  ASSERT_TRUE(stored);
  int64_t zeros = 0, all = 0;
  float largest_gone = 0, smallest_left = INFINITY;
  bool uneven = false;
  for (const MatrixInfo& info : matrices_of(source_->config())) {
    if (!info.linear) continue;
    const auto before = matrix_of(*source_, info).decode();
    const auto after = matrix_of(*stored, info).decode();
    const int64_t found = test::zeros_in(after);
    if (info.layer == 0 && info.name.ends_with("up_proj")) {
      EXPECT_EQ(found, share(0.7, info.rows * info.cols));
      continue;
    }
    zeros += found;
    all += info.rows * info.cols;
    uneven |= found != share(0.3, info.rows * info.cols);
    for (size_t i = 0; i < after.size(); ++i) {
      float& edge = after[i] == 0 ? largest_gone : smallest_left;
      edge = after[i] == 0 ? std::max(edge, std::fabs(before[i]))
                           : std::min(edge, std::fabs(before[i]));
    }
  }
  EXPECT_EQ(zeros, share(0.3, all));
  EXPECT_LE(largest_gone, smallest_left);
  EXPECT_TRUE(uneven);
}

// The naive hybrid of the literature turns pruned weights back into noise; here they stay zero in
// every format that is allowed, in both orders.
TEST_F(Prune, ZerosSurviveQuantizationInBothOrders) {
  int count = 0;
  for (const std::string& spec : example_formats()) {
    const FormatPtr format = parse_format(spec).value();
    if (!format->can_encode() || !format->supports(64, 64).ok() || !format->exact_zero()) continue;
    ++count;
    const double rounding = std::pow(10.0, -0.1 * format->snr().low_db);
    for (const char* order : {"prune-first", "quantize-first"}) {
      SCOPED_TRACE(spec + " " + order);
      const nlohmann::json recipe = {
          {"prune", "magnitude:0.5"}, {"format", spec}, {"order", order}};
      const auto stored = run(test::with_fitting(recipe, *source_, spec));
      ASSERT_TRUE(stored);
      for (const MatrixInfo& info : matrices_of(source_->config())) {
        if (info.layer < 0) continue;
        const auto before = matrix_of(*source_, info).decode();
        const auto after = matrix_of(*stored, info).decode();
        const int64_t zeros = test::zeros_in(after);
        EXPECT_GE(zeros, share(0.5, info.rows * info.cols)) << info.name;
        double error = 0, power = 0;
        for (size_t i = 0; i < after.size(); ++i) {
          error += std::pow(static_cast<double>(after[i]) - before[i], 2);
          power += std::pow(static_cast<double>(before[i]), 2);
        }
        // The large half is still there, but for what the format itself loses.
        EXPECT_LT(error, (0.2 + rounding) * power) << info.name;
      }
    }
  }
  EXPECT_GE(count, 12);
}

// Pruned first, every position that lost its weight is zero whatever the format rounds to.
TEST_F(Prune, PrunedPositionsAreZero) {
  const auto pruned = run({{"prune", "magnitude:0.5"}});
  for (const char* spec : {"int8:row", "int4:g32,asym", "nf4:b64,dq", "fp4:b64"}) {
    const auto hybrid = run({{"prune", "magnitude:0.5"}, {"format", spec}});
    for (const MatrixInfo& info : matrices_of(source_->config())) {
      if (info.layer < 0) continue;
      const auto mask = matrix_of(*pruned, info).decode(),
                 found = matrix_of(*hybrid, info).decode();
      for (size_t i = 0; i < mask.size(); ++i) {
        if (mask[i] == 0) {
          ASSERT_EQ(found[i], 0.0f) << spec << " " << info.name << " " << i;
        }
      }
    }
  }
}

TEST_F(Prune, OverridesSpareLayers) {
  const auto stored = run({{"prune", "magnitude:0.5"},
                           {"overrides", {{{"match", "model.layers.0.*"}, {"sparsity", 0}}}}});
  ASSERT_TRUE(stored);
  for (const MatrixInfo& info : matrices_of(source_->config())) {
    const int64_t expected = info.layer > 0 ? share(0.5, info.rows * info.cols) : 0;
    EXPECT_EQ(test::zeros_in(matrix_of(*stored, info).decode()), expected) << info.name;
  }
}

}  // namespace
}  // namespace lathe
