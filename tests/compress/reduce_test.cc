// Structured pruning: what is cut, what that leaves of the model, and what is refused.
#include <cmath>

#include "compress/compress_test_util.h"
#include "compress/problem.h"
#include "lathe/compress/column_groups.h"
#include "lathe/compress/pass.h"
#include "lathe/compress/predict.h"
#include "lathe/compress/reduced_model.h"

namespace lathe {
namespace {

using test::logits_of;
using test::matrix_of;
using test::open;
using test::Problem;
using test::recipe_of;
using ::testing::HasSubstr;

// Of all kinds of blocks: gated or not, biases, fused and transposed matrices, grouped queries,
// windows, norms on both sides, parallel residual.
const char* const kFamilies[] = {"llama",  "llama-tied-bias", "mistral", "qwen2-window", "qwen3",
                                 "gemma2", "gemma3",          "phi2",    "phi3",         "opt",
                                 "gpt2"};

std::vector<std::vector<int32_t>> made_up_samples(const ModelConfig& c) {
  std::vector<std::vector<int32_t>> samples(2);
  for (size_t i = 0; i < 24; ++i) {
    samples[i % 2].push_back(static_cast<int32_t>((i * i * 7 + 3) % static_cast<size_t>(c.vocab)));
  }
  return samples;
}

Result<Reshaped> reduced(const Checkpoint& source, const std::string& name,
                         const nlohmann::json& given, ThreadPool& pool) {
  const Pass* pass = find_pass(name).value();
  const nlohmann::json parameters = check_parameters(*pass, given).value();
  const auto samples = made_up_samples(source.config());
  return pass->reshape(source, {parameters, pool, &samples});
}

float largest(const std::vector<float>& values) {
  float most = 0;
  for (const float v : values) most = std::max(most, std::fabs(v));
  return most;
}

void expect_close(const std::vector<float>& a, const std::vector<float>& b, float relative,
                  const std::string& where) {
  ASSERT_EQ(a.size(), b.size()) << where;
  float apart = 0;
  for (size_t i = 0; i < a.size(); ++i) apart = std::max(apart, std::fabs(a[i] - b[i]));
  EXPECT_GT(largest(a), 0) << where;
  EXPECT_LE(apart, relative * largest(a)) << where;
}

// `source` with zeros in the columns of a matrix of every block.
test::Replaced with_zero_columns(const Checkpoint& source, const char* suffix,
                                 const std::vector<int64_t>& columns) {
  test::Replaced out(source);
  for (const MatrixInfo& info : matrices_of(source.config())) {
    if (!info.name.ends_with(suffix)) continue;
    std::vector<float> w = matrix_of(source, info).decode();
    for (int64_t r = 0; r < info.rows; ++r) {
      for (const int64_t c : columns) w[size_t(r * info.cols + c)] = 0;
    }
    out.matrices[info.name] = WeightMatrix::of_floats(w.data(), info.rows, info.cols);
  }
  return out;
}

TEST(Reduce, ChannelsOfZeroWeightsChangeNothing) {
  ThreadPool pool(2);
  for (const char* name : kFamilies) {
    const auto source = open(test::family(name));
    const int64_t ffn = source->config().ffn;
    std::vector<int64_t> columns;
    for (int64_t c = 1; c < ffn; c += 4) columns.push_back(c);
    const test::Replaced zeroed = with_zero_columns(*source, "down_proj", columns);
    const double share = static_cast<double>(columns.size()) / static_cast<double>(ffn);
    const auto smaller = reduced(zeroed, "channels", {{"sparsity", share}, {"multiple", 1}}, pool);
    ASSERT_TRUE(smaller.ok()) << name << ": " << smaller.error().message;
    EXPECT_EQ(smaller->model->config().ffn, ffn - static_cast<int64_t>(columns.size())) << name;
    expect_close(logits_of(zeroed), logits_of(*smaller->model), 2e-6f, name);
  }
}

TEST(Reduce, HeadsOfZeroWeightsChangeNothing) {
  ThreadPool pool(2);
  for (const char* name : kFamilies) {
    const auto source = open(test::family(name));
    const ModelConfig& c = source->config();
    if (c.kv_heads < 2) continue;
    // The second key/value head, with the query heads that share it.
    const int64_t size = c.heads / c.kv_heads * c.head_size;
    std::vector<int64_t> columns;
    for (int64_t i = size; i < 2 * size; ++i) columns.push_back(i);
    const test::Replaced zeroed = with_zero_columns(*source, "o_proj", columns);
    const auto smaller =
        reduced(zeroed, "heads", {{"sparsity", 1.0 / static_cast<double>(c.kv_heads)}}, pool);
    ASSERT_TRUE(smaller.ok()) << name << ": " << smaller.error().message;
    EXPECT_EQ(smaller->model->config().kv_heads, c.kv_heads - 1) << name;
    EXPECT_EQ(smaller->model->config().heads, (c.kv_heads - 1) * c.heads / c.kv_heads) << name;
    expect_close(logits_of(zeroed), logits_of(*smaller->model), 2e-6f, name);
  }
}

// A layer that adds nothing to the stream has no influence, and goes first.
TEST(Reduce, LayersThatDoNothingChangeNothing) {
  ThreadPool pool(2);
  for (const char* name : kFamilies) {
    const auto source = open(test::family(name));
    const ModelConfig& c = source->config();
    if (c.o_bias || c.mlp_bias || c.layers < 2) continue;
    test::Replaced idle(*source);
    for (const MatrixInfo& info : matrices_of(c)) {
      if (info.layer != 1 || (!info.name.ends_with("o_proj") && !info.name.ends_with("down_proj")))
        continue;
      const std::vector<float> zeros(static_cast<size_t>(info.rows * info.cols));
      idle.matrices[info.name] = WeightMatrix::of_floats(zeros.data(), info.rows, info.cols);
    }
    const auto smaller =
        reduced(idle, "layers", {{"sparsity", 1.0 / static_cast<double>(c.layers)}}, pool);
    ASSERT_TRUE(smaller.ok()) << name << ": " << smaller.error().message;
    EXPECT_EQ(smaller->model->config().layers, c.layers - 1) << name;
    EXPECT_EQ(smaller->report["influence"][1].get<double>(), 0) << name;
    expect_close(logits_of(idle), logits_of(*smaller->model), 0, name);
  }
}

// Against the definition, by the rows of the made-up inputs.
TEST(Reduce, EnergyIsWhatAGroupAddsToTheOutput) {
  const int64_t rows = 5, cols = 12, tokens = 30, size = 3;
  const Problem p = Problem::made_up(rows, cols, tokens);
  const std::vector<double> energy = group_energy(p.stats, p.weights, size);
  ASSERT_EQ(energy.size(), 4u);
  for (int64_t g = 0; g < 4; ++g) {
    double expected = 0;
    for (int64_t t = 0; t < tokens; ++t) {
      for (int64_t r = 0; r < rows; ++r) {
        double y = 0;
        for (int64_t k = g * size; k < (g + 1) * size; ++k) {
          y += double{p.inputs[size_t(t * cols + k)]} * double{p.weights[size_t(r * cols + k)]};
        }
        expected += y * y / static_cast<double>(tokens);
      }
    }
    EXPECT_NEAR(energy[size_t(g)] / expected, 1, 1e-6);
  }
  EXPECT_EQ(strongest({3, 1, 3, 2}, 2), (std::vector<int64_t>{0, 2}));
  EXPECT_EQ(strongest({1, 1, 1}, 1), (std::vector<int64_t>{0}));
}

// No small change of the refitted columns makes the error smaller, and leaving them as they were
// makes it larger.
TEST(Reduce, RefitIsTheLeastSquaresSolution) {
  const int64_t rows = 3, cols = 24;
  const Problem p = Problem::made_up(rows, cols, 200);
  std::vector<int64_t> kept;
  for (int64_t k = 0; k < cols; ++k) {
    if (k % 3 != 1) kept.push_back(k);
  }
  ThreadPool pool(2);
  const auto refitted = refit_columns(p.stats, p.weights, kept, 1e-6, pool);
  ASSERT_TRUE(refitted.ok());
  const auto error = [&](const std::vector<float>& columns) {
    std::vector<float> all(static_cast<size_t>(rows * cols));
    for (int64_t r = 0; r < rows; ++r) {
      for (size_t i = 0; i < kept.size(); ++i) {
        all[size_t(r * cols + kept[i])] = columns[size_t(r) * kept.size() + i];
      }
    }
    return p.error(all);
  };
  const double least = error(*refitted);
  EXPECT_LT(least, 0.7 * error(take_columns(p.weights, cols, kept)));
  for (size_t i = 0; i < refitted->size(); ++i) {
    for (const float step : {-0.01f, 0.01f}) {
      std::vector<float> moved = *refitted;
      moved[i] += step;
      EXPECT_GE(error(moved), least * (1 - 1e-5));
    }
  }
}

nlohmann::json calibration() {
  return {{"data", test::source_file("models/tiny/data/calibration.txt")},
          {"samples", 4},
          {"length", 64}};
}

TEST(Reduce, GivesASmallerModelThatIsReadBackSlow) {
  const auto source = open(test::source_file("models/tiny"));
  test::TemporaryFolder folder;
  const Recipe recipe = recipe_of({{"passes",
                                    {{{"layers", {{"sparsity", 0.25}}}},
                                     {{"heads", {{"sparsity", 0.25}}}},
                                     {{"channels", {{"sparsity", 0.3}}}},
                                     {{"rtn", {{"format", "int4:g64"}}}}}},
                                   {"calibration", calibration()}});
  std::map<std::string, std::string> first;
  for (const int threads : {1, 3}) {
    ThreadPool pool(threads);
    const auto report =
        compress(*source, recipe, folder.file("out"), pool, {.overwrite = threads > 1});
    ASSERT_TRUE(report.ok()) << report.error().message;
    const auto files = test::contents(folder.file("out"));
    if (first.empty()) first = files;
    EXPECT_EQ(files, first) << threads << " threads";
  }
  const auto smaller = open(folder.file("out"));
  const ModelConfig& c = smaller->config();
  EXPECT_EQ(c.layers, 3);
  EXPECT_EQ(c.heads, 6);
  EXPECT_EQ(c.kv_heads, 3);
  EXPECT_EQ(c.ffn, 544);  // 537.6, as a multiple of 32
  EXPECT_GT(largest(logits_of(*smaller)), 0);
  int64_t bytes = 0;
  for (const MatrixInfo& info : matrices_of(c)) bytes += matrix_of(*smaller, info).bytes();
  for (const VectorInfo& info : vectors_of(c)) bytes += 4 * info.size;
  EXPECT_EQ(predicted_bytes(*source, recipe).value(), bytes);
  const auto config = nlohmann::json::parse(first["config.json"]);
  EXPECT_EQ(config["num_hidden_layers"], 3);
  EXPECT_EQ(config["num_attention_heads"], 6);
  EXPECT_EQ(config["num_key_value_heads"], 3);
  EXPECT_EQ(config["head_dim"], 32);
  EXPECT_EQ(config["intermediate_size"], 544);
  const auto described = nlohmann::json::parse(first["lathe.json"]);
  EXPECT_EQ(described["reshaped"][0]["layers"]["influence"].size(), 4u);
  EXPECT_EQ(described["reshaped"][2]["channels"]["kept"], 544);
}

TEST(Reduce, TheShortFormPutsItFirst) {
  const Recipe recipe = recipe_of({{"format", "int4:g64"},
                                   {"method", "awq+gptq"},
                                   {"prune", "channels:0.25"},
                                   {"calibration", calibration()}});
  ASSERT_EQ(recipe.steps.size(), 3u);
  EXPECT_EQ(recipe.steps[0].pass, "channels");
  EXPECT_EQ(recipe_of(to_json(recipe)).hash(), recipe.hash());
}

TEST(Reduce, Refusals) {
  const auto refusal = [](const char* model, nlohmann::json recipe) {
    test::TemporaryFolder folder;
    ThreadPool pool(1);
    recipe["calibration"] = calibration();
    const auto read = recipe_from_json(recipe);
    if (!read.ok()) return read.error().message;
    const auto report = compress(*open(test::family(model)), *read, folder.file("out"), pool);
    EXPECT_FALSE(report.ok());
    EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
    return report.ok() ? "" : report.error().message;
  };
  EXPECT_THAT(refusal("gpt2", {{"prune", "heads:0.5"}}),
              HasSubstr("the config.json of this family cannot say that"));
  EXPECT_THAT(refusal("llama", {{"prune", "layers:0.95"}}), HasSubstr("would leave none of"));
  EXPECT_THAT(refusal("llama", {{"prune", {{"method", "channels"}, {"sparsity", 1}}}}),
              HasSubstr("must be a number from 0 to 0.95"));
  EXPECT_THAT(
      refusal("llama", {{"prune", {{"method", "channels"}, {"sparsity", 0.5}, {"refit", 1}}}}),
      HasSubstr("must be true or false"));
  EXPECT_THAT(refusal("llama", {{"prune", "layers:0.5"}, {"format", "q4_k"}}),
              HasSubstr("rows in blocks of 256"));  // refused before the data is looked at
  EXPECT_THAT(
      refusal("llama",
              {{"passes", {{{"rtn", {{"format", "f16"}}}}, {{"layers", {{"sparsity", 0.5}}}}}}}),
      HasSubstr("'layers' comes after a pass that prunes or rounds"));
  EXPECT_THAT(
      refusal("llama", {{"passes", {{{"awq", nullptr}}, {{"heads", {{"sparsity", 0.5}}}}}}}),
      HasSubstr("comes after a pass that works block by block"));
  EXPECT_THAT(
      refusal("llama", {{"format", "int8:row"}, {"prune", "layers:0.5"}, {"order", "prune-first"}}),
      HasSubstr("order: means nothing"));
}

}  // namespace
}  // namespace lathe
