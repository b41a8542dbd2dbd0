// GPTQ, SparseGPT and Wanda against the reference of tools/oracles/compress_methods.py, and whole
// compressions with calibration data.
#include <cmath>
#include <cstdlib>
#include <cstring>

#include "compress/compress_test_util.h"
#include "compress/problem.h"
#include "lathe/compress/calibration.h"
#include "lathe/compress/column_solver.h"
#include "lathe/compress/passes/sparse.h"
#include "lathe/io/safetensors.h"

namespace lathe {
namespace {

using test::open;
using test::Problem;
using test::recipe_of;

std::vector<float> solve(const std::string& name, const Problem& p, ThreadPool& pool) {
  std::vector<float> w = p.weights;
  const SparsePattern pattern = name.ends_with("2:4") ? SparsePattern{2, 4} : SparsePattern{};
  if (name.starts_with("wanda")) {
    const std::vector<float> square = p.stats.mean_square();
    std::vector<float> scores(w.size());
    for (size_t i = 0; i < w.size(); ++i) {
      scores[i] = std::fabs(w[i]) * std::sqrt(square[i % size_t(p.cols)]);
    }
    const auto mask = mask_by_row(scores.data(), p.rows, p.cols, 0.5, pattern, pool);
    for (size_t i = 0; i < w.size(); ++i) w[i] = mask[i] ? 0 : w[i];
    return w;
  }
  const bool act_order = name.ends_with("act_order");
  const bool joint = name.starts_with("joint");
  const InverseFactor factor = inverse_factor(p.stats, 0.01, act_order, pool).value();
  SolveTask task;
  if (name.starts_with("sparsegpt")) {
    task.sparsity = 0.5;
    task.pattern = pattern;
    solve_columns(factor, task, {}, p.rows, w.data(), pool);
    return w;
  }
  const FormatPtr format = parse_format(act_order ? "int4:g16" : "int4:g16,asym").value();
  const GroupGrid grid = GroupGrid::create(format, p.rows, p.cols).value();
  task.grid = &grid;
  task.static_groups = act_order;
  task.sparsity = joint ? 0.5 : 0;
  const Solution solution = solve_columns(factor, task, {}, p.rows, w.data(), pool);
  // What is stored is what was solved for, to the bit.
  const WeightMatrix stored = grid.encode(w.data(), solution.groups, name, pool).value();
  EXPECT_EQ(stored.decode(), w) << name;
  return w;
}

nlohmann::json golden() {
  return nlohmann::json::parse(
      read_text(test::source_file("tests/golden/compress/methods.json")).value());
}

TEST(Methods, EqualTheReference) {
  const nlohmann::json reference = golden();
  const Problem p = Problem::made_up(reference["rows"], reference["columns"], reference["tokens"]);
  ThreadPool one(1), two(2);
  for (const auto& [name, expected] : reference["cases"].items()) {
    const std::vector<float> w = solve(name, p, two);
    EXPECT_EQ(w, solve(name, p, one)) << name;
    const auto wanted = expected["weights"].get<std::vector<float>>();
    ASSERT_EQ(w.size(), wanted.size());
    // f32 against f64: now and then a weight falls on the other side of a midpoint, and its row
    // follows.
    size_t equal = 0;
    for (size_t i = 0; i < w.size(); ++i) equal += std::fabs(w[i] - wanted[i]) < 1e-3f ? 1 : 0;
    EXPECT_GE(equal, w.size() * 95 / 100) << name;
    EXPECT_NEAR(p.error(w) / expected["error"].get<double>(), 1, 0.02) << name;
  }
}

TEST(Methods, EqualTheReferenceOnARealLayerSlow) {
  const char* shared = std::getenv("LATHE_SHARED");
  const std::string path =
      std::string(shared ? shared : "") + "/data/weights/tiny-llm-layer0.safetensors";
  if (!shared || !std::filesystem::exists(path)) GTEST_SKIP() << "needs LATHE_SHARED";
  ThreadPool pool(2);
  const auto file = SafetensorsFile::open(path);
  ASSERT_TRUE(file.ok()) << file.error().message;
  const nlohmann::json reference = golden();
  int compared = 0;
  for (const auto& [key, cases] : reference["layer"].items()) {
    const auto* tensor = file->find(key);
    ASSERT_TRUE(tensor) << key;
    const int64_t rows = tensor->shape[0], cols = tensor->shape[1];
    std::vector<float> w(static_cast<size_t>(rows * cols));
    std::memcpy(w.data(), tensor->bytes.data(), w.size() * sizeof(float));
    const Problem p(rows, cols, 2 * cols, std::move(w));
    for (const auto& [name, expected] : cases.items()) {
      EXPECT_NEAR(p.error(solve(name, p, pool)) / expected.get<double>(), 1, 0.02)
          << key << " " << name;
      ++compared;
    }
  }
  EXPECT_EQ(compared, 21);  // three matrices, seven methods
}

TEST(Methods, DegenerateInputs) {
  ThreadPool pool(2);
  Problem p = Problem::made_up(4, 32, 64);
  LinearStats stats = p.stats;
  // A column that is never active is only rounded, and harms no other.
  for (size_t j = 0; j < 32; ++j) stats.gram[5 * 32 + j] = stats.gram[j * 32 + 5] = 0;
  EXPECT_TRUE(inverse_factor(stats, 0.01, true, pool).ok());
  // Not positive definite: the damping is raised, and said to be.
  stats = p.stats;
  double mean = 0;
  for (size_t i = 0; i < 32; ++i) mean += stats.gram[i * 33] / 32;
  stats.gram[0] = -0.5 * mean;
  const auto raised = inverse_factor(stats, 0.01, false, pool);
  ASSERT_TRUE(raised.ok());
  EXPECT_GT(raised->damping, 0.01);
  std::fill(stats.gram.begin(), stats.gram.end(), 0.0);
  EXPECT_THAT(inverse_factor(stats, 0.01, false, pool).error().message,
              ::testing::HasSubstr("all calibration inputs of this matrix are zero"));
  stats.gram[33] = NAN;
  EXPECT_THAT(inverse_factor(stats, 0.01, false, pool).error().message,
              ::testing::HasSubstr("not finite"));
}

TEST(GroupGrid, StoresExactlyWhatItRounded) {
  ThreadPool pool(2);
  const Problem made_up = Problem::made_up(3, 128, 1);
  const std::vector<float> importance(128, 1.0f);
  for (const std::string& spec : example_formats()) {
    const FormatPtr format = parse_format(spec).value();
    const auto grid = GroupGrid::create(format, 3, 128);
    if (!grid.ok()) continue;
    Problem p = made_up;
    if (spec.starts_with("sparse24:") || spec.starts_with("sparse48:")) {
      // Two of four weights, all that such a layout has room for.
      for (size_t k = 0; k < p.weights.size(); ++k) p.weights[k] *= k % 4 < 2;
    }
    std::vector<GridGroup> groups;
    std::vector<float> values = p.weights;
    double plain = 0, searched = 0;
    const auto own = WeightMatrix::encode(format, p.weights.data(), 3, 128, "w")->decode();
    for (int64_t i = 0; i < 3 * grid->groups(); ++i) {
      const int64_t at = i / grid->groups() * 128 + i % grid->groups() * grid->group();
      const int64_t count = std::min(grid->group(), 128 - i % grid->groups() * grid->group());
      groups.push_back(grid->fit(p.weights.data() + at, {importance.data(), nullptr, 0}, count));
      for (int64_t k = at; k < at + count; ++k) {
        values[size_t(k)] = grid->round(values[size_t(k)], groups.back());
        searched += std::pow(values[size_t(k)] - p.weights[size_t(k)], 2);
        plain += std::pow(own[size_t(k)] - p.weights[size_t(k)], 2);
      }
    }
    EXPECT_LE(searched, plain * 1.0001) << spec;
    const auto stored = grid->encode(values.data(), groups, "w", pool);
    ASSERT_TRUE(stored.ok()) << spec << ": " << stored.error().message;
    const std::vector<float> decoded = stored->decode();
    for (size_t i = 0; i < values.size(); ++i) {
      EXPECT_NEAR(decoded[i], values[i], 1e-6f * std::fabs(values[i])) << spec;
    }
  }
}

TEST(GroupGrid, TheOutputsErrorChoosesAmongTheBest) {
  constexpr int64_t kGroup = 32;
  const Problem p = Problem::made_up(24, kGroup, 64);
  const std::vector<float> square = p.stats.mean_square(), gram = p.stats.mean_gram();
  for (const std::string spec : {"int2:g32", "int2:g32,offset", "int3:g32", "int3:g32,asym",
                                 "int3:g32,offset", "int4:g32"}) {
    const auto grid = GroupGrid::create(parse_format(spec).value(), p.rows, kGroup).value();
    double by_gram = 0, by_diagonal = 0, by_format = 0;
    for (int64_t r = 0; r < p.rows; ++r) {
      const float* x = p.weights.data() + r * kGroup;
      const auto cost = [&](const FitWeight& weight) {
        const GridGroup group = grid.fit(x, weight, kGroup);
        double sum = 0;
        for (int64_t i = 0; i < kGroup; ++i) {
          for (int64_t j = 0; j < kGroup; ++j) {
            sum += double{grid.round(x[i], group) - x[i]} * double{gram[size_t(i * kGroup + j)]} *
                   double{grid.round(x[j], group) - x[j]};
          }
        }
        return sum;
      };
      const double chosen = cost({square.data(), gram.data(), kGroup});
      const double before = cost({square.data(), nullptr, 0});
      EXPECT_LE(chosen, before * 1.001) << spec;
      by_gram += chosen;
      by_diagonal += before;
      by_format += cost({});
    }
    EXPECT_LT(by_gram, by_diagonal) << spec;
    EXPECT_LT(by_diagonal, by_format) << spec;
  }
}

TEST(GroupGrid, NothingToChooseBy) {
  const std::vector<float> zeros(32, 0.0f);
  const Problem p = Problem::made_up(1, 32, 8);
  const std::vector<float> square = p.stats.mean_square();
  for (const std::string spec : {"int2:g32", "int3:g32,asym", "int3:g32,offset", "nf4:b32"}) {
    const auto grid = GroupGrid::create(parse_format(spec).value(), 1, 32).value();
    const GridGroup zero = grid.fit(zeros.data(), {square.data(), nullptr, 0}, 32);
    EXPECT_EQ(grid.round(0.0f, zero), 0.0f) << spec;
    // Columns that were never active: the format's own scale.
    const GridGroup own = grid.fit(p.weights.data(), {}, 32);
    const GridGroup unweighted = grid.fit(p.weights.data(), {zeros.data(), nullptr, 0}, 32);
    EXPECT_EQ(unweighted.scale, own.scale) << spec;
    EXPECT_EQ(unweighted.zero, own.zero) << spec;
    EXPECT_EQ(unweighted.offset, own.offset) << spec;
  }
}

class Calibrated : public ::testing::Test {
 protected:
  static nlohmann::json calibration(int64_t samples = 4) {
    return {{"data", test::source_file("models/tiny/data/calibration.txt")},
            {"samples", samples},
            {"length", 64}};
  }
  test::TemporaryFolder folder_;
  std::unique_ptr<const Checkpoint> source_ = open(test::source_file("models/tiny"));
};

TEST_F(Calibrated, TheSameBytesOnAnyNumberOfThreadsSlow) {
  const Recipe recipe = recipe_of(
      {{"passes", {{{"sparsegpt", {{"sparsity", 0.5}}}}, {{"gptq", {{"format", "int4:g64"}}}}}},
       {"calibration", calibration()}});
  std::map<std::string, std::string> first;
  for (const int threads : {1, 3}) {
    ThreadPool pool(threads);
    const std::string out = folder_.file(std::to_string(threads));
    const auto report = compress(*source_, recipe, out, pool);
    ASSERT_TRUE(report.ok()) << report.error().message;
    for (const MatrixReport& m : report->matrices) {
      if (m.name.find(".layers.") != std::string::npos) {
        EXPECT_GE(m.sparsity, 0.499) << m.name;
      }
    }
    if (first.empty()) {
      first = test::contents(out);
    } else {
      EXPECT_EQ(first, test::contents(out));
    }
  }
}

// SparseGPT with rounding in its loop: half of the weights are zero, stored without them, and the
// model is no worse than with one step after the other by much.
TEST_F(Calibrated, JointPruningAndRoundingIsStoredSparse) {
  ThreadPool pool(2);
  const auto report_of = [&](const nlohmann::json& passes, const std::string& name) {
    const auto report =
        compress(*source_, recipe_of({{"passes", passes}, {"calibration", calibration()}}),
                 folder_.file(name), pool);
    EXPECT_TRUE(report.ok()) << report.error().message;
    return *report;
  };
  const auto joint =
      report_of({{{"joint", {{"sparsity", 0.5}, {"format", "sparse:int4:g64"}}}}}, "a");
  const auto dense = report_of({{{"joint", {{"sparsity", 0.5}, {"format", "int4:g64"}}}}}, "b");
  const auto pattern = report_of(
      {{{"joint", {{"sparsity", 0.5}, {"pattern", "2:4"}, {"format", "sparse24:int4:g64"}}}}}, "c");
  for (size_t i = 0; i < joint.matrices.size(); ++i) {
    if (joint.matrices[i].name.find(".layers.") == std::string::npos) continue;
    EXPECT_GE(joint.matrices[i].sparsity, 0.499);
    EXPECT_GE(pattern.matrices[i].sparsity, 0.499);
    EXPECT_EQ(joint.matrices[i].mse, dense.matrices[i].mse);
    EXPECT_LT(joint.matrices[i].bytes, dense.matrices[i].bytes * 4 / 5);
    EXPECT_LT(pattern.matrices[i].bytes, dense.matrices[i].bytes * 4 / 5);
  }
  // A pattern that the layout has no room for is refused, not cut.
  const auto refused = compress(
      *source_,
      recipe_of({{"passes", {{{"joint", {{"sparsity", 0.5}, {"format", "sparse24:int4:g64"}}}}}},
                 {"calibration", calibration()}}),
      folder_.file("d"), pool);
  ASSERT_FALSE(refused.ok());
  EXPECT_THAT(refused.error().message, testing::HasSubstr("has more weights that are not 0"));
}

// Weighted by the inputs the search errs less where they are large, at the cost of a larger plain
// error; how much that helps the model is in docs/results.md.
TEST_F(Calibrated, ImportanceDecidesTheBlocksOfGgmlTypes) {
  const auto layers = [&](const char* method, int threads) {
    ThreadPool pool(threads);
    const std::string out = folder_.file(fmt::format("{}-{}", method, threads));
    nlohmann::json json = {{"format", "q4_k"}, {"method", method}};
    json["overrides"] = {{{"match", "*.down_proj"}, {"format", "q6_k"}}};
    if (std::string_view(method) == "imatrix") json["calibration"] = calibration();
    auto report = compress(*source_, recipe_of(json), out, pool);
    EXPECT_TRUE(report.ok()) << report.error().message;
    return std::pair(std::move(report->matrices), test::contents(out));
  };
  const auto [plain, plain_files] = layers("rtn", 1);
  const auto [weighted, files] = layers("imatrix", 1);
  int blocks = 0;
  for (size_t i = 0; i < plain.size(); ++i) {
    if (plain[i].name.find(".layers.") == std::string::npos) continue;
    EXPECT_EQ(weighted[i].format, plain[i].name.ends_with("down_proj") ? "q6_k" : "q4_k");
    EXPECT_GT(weighted[i].mse, plain[i].mse) << plain[i].name;
    ++blocks;
  }
  EXPECT_EQ(blocks, 28);
  EXPECT_EQ(layers("imatrix", 3).second, files);

  // The first block's inputs are the source's own.
  ThreadPool pool(1);
  const CalibrationSpec spec = calibration_from_json(calibration()).value();
  const auto stream =
      CalibrationStream::create(*source_,
                                calibration_samples(spec, source_->tokenizer_path()).value(), pool)
          .value();
  for (const char* matrix : {"q_proj", "k_proj", "v_proj"}) {
    const std::string name = std::string("model.layers.0.self_attn.") + matrix;
    std::vector<std::string> sharing;
    const auto importance = stream->collect(*source_, 0, name, sharing).value()->mean_square();
    const auto cols = static_cast<int64_t>(importance.size());
    const int64_t rows = matrix[0] == 'q' ? cols : cols / 2;
    const auto error = [&](const char* method) {
      const auto exact = source_->matrix(name, rows, cols).value().decode();
      const auto stored =
          open(folder_.file(fmt::format("{}-1", method)))->matrix(name, rows, cols).value();
      const auto rounded = stored.decode();
      double sum = 0;
      for (size_t i = 0; i < exact.size(); ++i) {
        const double d = static_cast<double>(rounded[i]) - exact[i];
        sum += static_cast<double>(importance[i % importance.size()]) * d * d;
      }
      return sum;
    };
    EXPECT_LT(error("imatrix"), 0.95 * error("rtn")) << name;
  }
}

TEST_F(Calibrated, Refusals) {
  ThreadPool pool(2);
  const auto message = [&](const nlohmann::json& json) {
    auto recipe = recipe_from_json(json);
    if (!recipe.ok()) return recipe.error().message;
    const auto report = compress(*source_, *recipe, folder_.file("x"), pool);
    return report.ok() ? std::string() : report.error().message;
  };
  using ::testing::HasSubstr;
  EXPECT_THAT(message({{"format", "int4:g64"}, {"method", "gptq"}}), HasSubstr("names none"));
  EXPECT_THAT(message({{"format", "q4_0"}, {"method", "gptq"}, {"calibration", calibration()}}),
              HasSubstr("not made of groups"));
  EXPECT_THAT(
      message({{"format", "int4:g64"}, {"method", "imatrix"}, {"calibration", calibration()}}),
      HasSubstr("not one of the ggml block types"));
  nlohmann::json spec = calibration();
  spec["length"] = 4096 * 100;
  EXPECT_THAT(message({{"prune", "wanda:0.5"}, {"calibration", spec}}), HasSubstr("tokens"));
  spec = calibration();
  spec["sample"] = 3;
  EXPECT_THAT(message({{"prune", "wanda:0.5"}, {"calibration", spec}}), HasSubstr("unknown key"));
  EXPECT_THAT(message({{"prune", {{"method", "wanda"}, {"sparsity", 0.4}, {"pattern", "2:4"}}},
                       {"calibration", calibration()}}),
              HasSubstr("sparsity of 0.5"));
  EXPECT_FALSE(std::filesystem::exists(folder_.file("x")));
}

}  // namespace
}  // namespace lathe
