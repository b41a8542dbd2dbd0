// What the tests of whole compressions share.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "lathe/backend/cpu/cpu_backend.h"
#include "lathe/base/mapped_file.h"
#include "lathe/compress/compressor.h"
#include "lathe/generate/engine.h"
#include "lathe/model/forward.h"
#include "support/files.h"

namespace lathe::test {

inline std::string family(const std::string& name) {
  const std::string folder = source_file("tests/golden/families/" + name);
  const std::string gguf = folder + "/model.gguf";
  return std::filesystem::exists(gguf) ? gguf : folder;
}

inline std::unique_ptr<const Checkpoint> open(const std::string& path) {
  auto checkpoint = open_checkpoint(path);
  EXPECT_TRUE(checkpoint.ok()) << checkpoint.error().message;
  return checkpoint.ok() ? std::move(*checkpoint) : nullptr;
}

inline WeightMatrix matrix_of(const Checkpoint& checkpoint, const MatrixInfo& info) {
  auto matrix = checkpoint.matrix(info.name, info.rows, info.cols);
  EXPECT_TRUE(matrix.ok()) << matrix.error().message;
  return matrix.ok() ? *matrix : WeightMatrix();
}

inline Recipe recipe_of(const nlohmann::json& json) {
  auto recipe = recipe_from_json(json);
  EXPECT_TRUE(recipe.ok()) << json << ": " << recipe.error().message;
  return recipe.ok() ? *recipe : Recipe();
}

// Overrides that store in f16 what a format with blocks does not fit; "overrides" is left out where
// there are none.
inline nlohmann::json with_fitting(nlohmann::json recipe, const Checkpoint& source,
                                   const std::string& spec) {
  for (const MatrixInfo& info : matrices_of(source.config())) {
    if (info.layer < 0 || parse_format(spec).value()->supports(info.rows, info.cols).ok()) continue;
    recipe["overrides"].push_back({{"match", info.name}, {"format", "f16"}});
  }
  return recipe;
}

// Another checkpoint with some of its matrices replaced.
class Replaced : public Checkpoint {
 public:
  explicit Replaced(const Checkpoint& base) : Checkpoint(base.path(), base.config()), base_(base) {}
  std::map<std::string, WeightMatrix> matrices;

  bool has(const std::string& name) const override { return base_.has(name); }
  Result<WeightMatrix> matrix(const std::string& name, int64_t rows, int64_t cols) const override {
    const auto it = matrices.find(name);
    if (it == matrices.end()) return base_.matrix(name, rows, cols);
    return it->second;
  }
  Result<std::vector<float>> vector(const std::string& name, int64_t size) const override {
    return base_.vector(name, size);
  }
  std::vector<std::string> weight_files() const override { return base_.weight_files(); }

 private:
  const Checkpoint& base_;
};

inline std::vector<float> logits_of(const Checkpoint& checkpoint) {
  const auto ops = make_cpu_ops(chosen_isa().value(), std::make_shared<ThreadPool>(2));
  const auto model = load_model(checkpoint, *ops, {16});
  EXPECT_TRUE(model.ok()) << model.error().message;
  if (!model.ok()) return {};
  KvCache cache = KvCache::create((*model)->config.kv_shape(), 16).value();
  const std::vector<int32_t> ids = {1, 5, 9, 2, 30, 7, 7, 11};
  Batch batch;
  batch.add(cache, ids, true);
  const Tensor out = forward(**model, *ops, batch);
  std::vector<float> all;
  for (int64_t r = 0; r < out.rows(); ++r)
    all.insert(all.end(), out.row(r), out.row(r) + out.cols());
  return all;
}

// The files of a folder, by name; not those of folders inside.
inline std::map<std::string, std::string> contents(const std::string& folder) {
  std::map<std::string, std::string> out;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (!entry.is_regular_file()) continue;
    out[entry.path().filename().string()] = read_text(entry.path().string()).value();
  }
  return out;
}

inline int64_t zeros_in(const std::vector<float>& weights) {
  return std::count(weights.begin(), weights.end(), 0.0f);
}

}  // namespace lathe::test
