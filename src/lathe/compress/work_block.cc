#include "lathe/compress/work_block.h"

#include <algorithm>
#include <numeric>

#include "lathe/base/threads.h"

namespace lathe {
namespace {

std::vector<int32_t> each(int64_t count) {
  std::vector<int32_t> out(static_cast<size_t>(count));
  std::iota(out.begin(), out.end(), 0);
  return out;
}

}  // namespace

std::vector<ScaleFold> scale_folds(const ModelConfig& c, int64_t layer) {
  const std::string at = fmt::format("model.layers.{}.", layer);
  const std::string attention = at + "self_attn.", mlp = at + "mlp.";
  std::vector<std::string> feeding;
  if (c.gated) feeding.push_back(mlp + "gate_proj");
  feeding.push_back(mlp + "up_proj");
  std::vector<ScaleFold> folds;
  ScaleFold input{at + "input_norm", "", {}, c.hidden, each(c.hidden)};
  for (const char* name : {"q_proj", "k_proj", "v_proj"})
    input.consumers.push_back(attention + name);
  if (c.parallel_residual) {
    input.consumers.insert(input.consumers.end(), feeding.begin(), feeding.end());
  }
  folds.push_back(std::move(input));
  ScaleFold values{"", attention + "v_proj", {attention + "o_proj"}, c.kv_heads * c.head_size, {}};
  for (int64_t k = 0; k < c.heads * c.head_size; ++k) {
    const int64_t head = k / c.head_size / (c.heads / c.kv_heads);
    values.channel_of.push_back(static_cast<int32_t>(head * c.head_size + k % c.head_size));
  }
  folds.push_back(std::move(values));
  if (!c.parallel_residual) {
    folds.push_back({at + "mlp_input_norm", "", feeding, c.hidden, each(c.hidden)});
  }
  if (c.gated || c.activation == Activation::kRelu) {
    folds.push_back({"", mlp + "up_proj", {mlp + "down_proj"}, c.ffn, each(c.ffn)});
  }
  return folds;
}

WorkBlock::WorkBlock(CurrentModel& model, int64_t layer, StatsOf stats_of, StoredAs stored_as)
    : model_(model),
      layer_(layer),
      stats_of_(std::move(stats_of)),
      stored_as_(std::move(stored_as)),
      matrices_(matrices_of(model.config())) {}

const MatrixInfo& WorkBlock::info(const std::string& name) const {
  const auto it = std::find_if(matrices_.begin(), matrices_.end(),
                               [&](const MatrixInfo& info) { return info.name == name; });
  LATHE_CHECK(it != matrices_.end());
  return *it;
}

Result<std::vector<float>> WorkBlock::weights(const std::string& name, ThreadPool& pool) const {
  const MatrixInfo& of = info(name);
  LATHE_TRY(const WeightMatrix matrix, model_.matrix(name, of.rows, of.cols));
  return matrix.decode(pool);
}

Status WorkBlock::divide_vector(const std::string& name, const std::vector<float>& factors) {
  for (const VectorInfo& vector : vectors_of(config())) {
    if (vector.name != name || (vector.optional && !model_.has(name))) continue;
    LATHE_TRY(std::vector<float> values, model_.vector(name, vector.size));
    for (size_t i = 0; i < values.size(); ++i) values[i] /= factors[i];
    model_.vectors[name] = std::move(values);
  }
  return {};
}

Status WorkBlock::apply(const ScaleFold& fold, const std::vector<float>& factors,
                        ThreadPool& pool) {
  LATHE_CHECK(static_cast<int64_t>(factors.size()) == fold.channels);
  if (!fold.norm.empty()) {
    LATHE_OK(divide_vector(fold.norm, factors));
    LATHE_OK(divide_vector(fold.norm + ".bias", factors));
  } else {
    const MatrixInfo& of = info(fold.producer);
    LATHE_TRY(std::vector<float> w, weights(fold.producer, pool));
    for (int64_t i = 0; i < of.rows * of.cols; ++i) w[size_t(i)] /= factors[size_t(i / of.cols)];
    model_.transformed[fold.producer] = WeightMatrix::of_floats(w.data(), of.rows, of.cols);
    LATHE_OK(divide_vector(fold.producer + ".bias", factors));
  }
  for (const std::string& name : fold.consumers) {
    const MatrixInfo& of = info(name);
    LATHE_TRY(std::vector<float> w, weights(name, pool));
    for (int64_t i = 0; i < of.rows * of.cols; ++i) {
      w[size_t(i)] *= factors[size_t(fold.channel_of[size_t(i % of.cols)])];
    }
    model_.transformed[name] = WeightMatrix::of_floats(w.data(), of.rows, of.cols);
    std::vector<float>& all = model_.column_factors[name];
    all.resize(static_cast<size_t>(of.cols), 1.0f);
    for (size_t k = 0; k < all.size(); ++k) all[k] *= factors[size_t(fold.channel_of[k])];
  }
  return {};
}

}  // namespace lathe
