// Every family against logits of transformers in float32 (tools/oracles/families.py).
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "lathe/backend/cpu/cpu_backend.h"
#include "lathe/base/mapped_file.h"
#include "lathe/model/family.h"
#include "lathe/model/forward.h"
#include "support/files.h"

namespace lathe {
namespace {

namespace fs = std::filesystem;

constexpr double kTolerance = 2e-5;  // relative to the largest logit of the row

std::vector<std::string> golden_models() {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(test::source_file("tests/golden/families"))) {
    if (fs::exists(entry.path() / "golden.json")) names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::string model_path(const std::string& folder) {
  return fs::exists(folder + "/model.gguf") ? folder + "/model.gguf" : folder;
}

double largest(const std::vector<double>& row) {
  double m = 0;
  for (const double v : row) m = std::max(m, std::fabs(v));
  return m;
}

void expect_row_near(const float* found, const std::vector<double>& expected,
                     const std::string& what) {
  const double bound = kTolerance * largest(expected);
  for (size_t i = 0; i < expected.size(); ++i) {
    ASSERT_NEAR(found[i], expected[i], bound) << what << ", logit " << i;
  }
}

class Families : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    folder_ = test::source_file("tests/golden/families/" + GetParam());
    golden_ = nlohmann::json::parse(read_text(folder_ + "/golden.json").value());
    // Transformers computes in f32: fast products round more than the tolerance.
    ops_ = make_cpu_ops(chosen_isa().value(), std::make_shared<ThreadPool>(2), Math::kExact);
  }

  std::shared_ptr<const Model> load(const std::string& path, int64_t context) {
    auto model = load_model(path, *ops_, {context});
    EXPECT_TRUE(model.ok()) << model.error().message;
    return model.ok() ? *model : nullptr;
  }

  void check_case(const std::string& path, const nlohmann::json& golden) {
    const auto ids = golden["ids"].get<std::vector<int32_t>>();
    const auto length = static_cast<int64_t>(ids.size());
    const auto model = load(path, length);
    ASSERT_TRUE(model);
    KvCache cache = KvCache::create(model->config.kv_shape(), length).value();
    Batch batch;
    batch.add(cache, ids, true);
    const Tensor out = forward(*model, *ops_, batch);
    ASSERT_EQ(out.rows(), length);
    const auto rows = golden["rows"].get<std::vector<int64_t>>();
    for (size_t i = 0; i < rows.size(); ++i) {
      expect_row_near(out.row(rows[i]), golden["logits"][i].get<std::vector<double>>(),
                      path + " row " + std::to_string(rows[i]));
    }
    const auto argmax = golden["argmax"].get<std::vector<int64_t>>();
    for (int64_t r = 0; r < length; ++r) {
      const float* row = out.row(r);
      EXPECT_EQ(std::max_element(row, row + out.cols()) - row, argmax[static_cast<size_t>(r)]) << r;
    }
    check_decode(*model, ids, out);
  }

  // Token by token, and in two uneven pieces, the logits are those of one prefill.
  void check_decode(const Model& model, const std::vector<int32_t>& ids, const Tensor& prefill) {
    const auto length = static_cast<int64_t>(ids.size());
    for (const int64_t piece : {int64_t{1}, int64_t{7}}) {
      KvCache cache = KvCache::create(model.config.kv_shape(), length).value();
      for (int64_t at = 0; at < length; at += piece) {
        const int64_t count = std::min(piece, length - at);
        Batch batch;
        batch.add(cache,
                  std::span(ids).subspan(static_cast<size_t>(at), static_cast<size_t>(count)),
                  true);
        const Tensor out = forward(model, *ops_, batch);
        for (int64_t r = 0; r < count; ++r) {
          const float* row = prefill.row(at + r);
          expect_row_near(out.row(r), std::vector<double>(row, row + prefill.cols()),
                          "decode at " + std::to_string(at + r));
        }
      }
    }
  }

  std::string folder_;
  nlohmann::json golden_;
  std::unique_ptr<Ops> ops_;
};

TEST_P(Families, LogitsEqualTransformers) {
  for (const auto& golden : golden_["cases"]) check_case(model_path(folder_), golden);
}

// The same model with config.json spelled as in checkpoints published before transformers 5.
TEST_P(Families, OlderConfigSpellingMeansTheSame) {
  if (!fs::exists(folder_ + "/config.published.json")) GTEST_SKIP() << "has one spelling only";
  test::TemporaryFolder copy;
  for (const auto& entry : fs::directory_iterator(folder_)) {
    const std::string name = entry.path().filename().string();
    if (name.find("safetensors") != std::string::npos) fs::copy(entry.path(), copy.file(name));
  }
  fs::copy(folder_ + "/config.published.json", copy.file("config.json"));
  check_case(copy.path(), golden_["cases"][0]);
}

TEST_P(Families, ConfigSurvivesJson) {
  const auto checkpoint = open_checkpoint(model_path(folder_));
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.error().message;
  const nlohmann::json j = to_json((*checkpoint)->config());
  const auto again = config_from_json(nlohmann::json::parse(j.dump()));
  ASSERT_TRUE(again.ok()) << again.error().message;
  EXPECT_EQ(to_json(*again), j);
}

// Sequences that share a batch do not see each other.
TEST_P(Families, BatchedSequencesAreIndependent) {
  const auto ids = golden_["cases"][0]["ids"].get<std::vector<int32_t>>();
  const auto model = load(model_path(folder_), static_cast<int64_t>(ids.size()));
  ASSERT_TRUE(model);
  const std::span<const int32_t> all(ids), part = all.subspan(3, 9);
  const KvShape shape = model->config.kv_shape();
  KvCache alone = KvCache::create(shape, 64).value(), first = KvCache::create(shape, 64).value(),
          second = KvCache::create(shape, 64).value();
  Batch one, two;
  one.add(alone, part, true);
  two.add(first, all.subspan(0, 11), true);
  two.add(second, part, true);
  const Tensor expected = forward(*model, *ops_, one), found = forward(*model, *ops_, two);
  for (int64_t r = 0; r < 9; ++r) {
    const float* row = expected.row(r);
    expect_row_near(found.row(11 + r), std::vector<double>(row, row + expected.cols()), "row");
  }
}

TEST(FamilyConfig, ANumberBeyondAllRangesIsAnErrorThatNamesItsKey) {
  auto config = nlohmann::json::parse(
      read_text(test::source_file("tests/golden/families/llama/config.json")).value());
  config["rope_scaling"] = {{"type", "linear"}, {"factor", 2.0}};
  auto broken = config;
  broken["max_position_embeddings"] = 1e300;
  int tried = 0;
  for (const Family& family : families()) {
    if (!family.from_config(config).ok()) continue;  // reads other keys
    ++tried;
    const auto read = family.from_config(broken);
    ASSERT_FALSE(read.ok());
    EXPECT_NE(read.error().message.find("max_position_embeddings"), std::string::npos)
        << read.error().message;
  }
  EXPECT_GE(tried, 5);
}

TEST(FamilyConfig, AShareOfTheHeadThatIsNoShareIsAnErrorThatNamesItsKey) {
  const auto config = nlohmann::json::parse(
      read_text(test::source_file("tests/golden/families/phi2/config.json")).value());
  const Family* phi = family_of_model_type("phi").value();
  ASSERT_TRUE(phi->from_config(config).ok());
  for (const nlohmann::json& share : {nlohmann::json("half"), nlohmann::json(1e300),
                                      nlohmann::json(-0.5), nlohmann::json::array()}) {
    auto outside = config, inside = config;
    outside.erase("rope_parameters");
    outside["partial_rotary_factor"] = share;
    inside["rope_parameters"] = {{"rope_type", "default"}, {"partial_rotary_factor", share}};
    for (const auto& broken : {outside, inside}) {
      const auto read = phi->from_config(broken);
      ASSERT_FALSE(read.ok()) << broken.dump();
      EXPECT_NE(read.error().message.find("partial_rotary_factor"), std::string::npos)
          << read.error().message;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, Families, ::testing::ValuesIn(golden_models()), [](const auto& info) {
  std::string name = info.param;
  std::replace_if(
      name.begin(), name.end(), [](char c) { return !std::isalnum(c); }, '_');
  return name;
});

}  // namespace
}  // namespace lathe
