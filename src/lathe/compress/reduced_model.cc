#include "lathe/compress/reduced_model.h"

#include <algorithm>
#include <numeric>

#include "lathe/base/mapped_file.h"
#include "lathe/model/hf_names.h"

namespace lathe {
namespace {

std::vector<int64_t> first(int64_t count) {
  std::vector<int64_t> out(static_cast<size_t>(count));
  std::iota(out.begin(), out.end(), 0);
  return out;
}

ModelConfig reduced_config(ModelConfig c, const std::vector<int64_t>& layers, int64_t kv_heads,
                           int64_t ffn) {
  if (!c.sliding.empty()) {
    std::vector<bool> sliding;
    for (const int64_t layer : layers) sliding.push_back(c.sliding[static_cast<size_t>(layer)]);
    c.sliding = std::move(sliding);
  }
  c.layers = static_cast<int64_t>(layers.size());
  c.heads = c.heads / c.kv_heads * kv_heads;
  c.kv_heads = kv_heads;
  c.ffn = ffn;
  return c;
}

bool ends_in(const std::string& name, std::initializer_list<const char*> parts) {
  return std::any_of(parts.begin(), parts.end(), [&](const char* part) {
    return name.ends_with(part) || name.ends_with(std::string(part) + ".bias");
  });
}

}  // namespace

FormatPtr float_format_of(const WeightMatrix& source) {
  if (source.format().encoding() == Encoding::kFloat) return source.format_ptr();
  return parse_format("f16").value();
}

std::vector<float> take_columns(const std::vector<float>& all, int64_t cols,
                                const std::vector<int64_t>& kept) {
  std::vector<float> out;
  out.reserve(all.size() / static_cast<size_t>(cols) * kept.size());
  for (size_t row = 0; row < all.size(); row += static_cast<size_t>(cols)) {
    for (const int64_t k : kept) out.push_back(all[row + static_cast<size_t>(k)]);
  }
  return out;
}

ReducedModel::ReducedModel(const Checkpoint& source, std::vector<int64_t> layers, int64_t kv_heads,
                           int64_t ffn)
    : Checkpoint(source.path(), reduced_config(source.config(), layers, kv_heads, ffn)),
      source_(source),
      layers_(std::move(layers)),
      kept_(layers_.size(), Kept{first(kv_heads), first(ffn)}) {}

void ReducedModel::keep_heads(int64_t layer, std::vector<int64_t> kv_heads) {
  LATHE_CHECK(static_cast<int64_t>(kv_heads.size()) == config().kv_heads);
  kept_[static_cast<size_t>(layer)].kv_heads = std::move(kv_heads);
}

void ReducedModel::keep_channels(int64_t layer, std::vector<int64_t> channels) {
  LATHE_CHECK(static_cast<int64_t>(channels.size()) == config().ffn);
  kept_[static_cast<size_t>(layer)].channels = std::move(channels);
}

std::string ReducedModel::source_name(const std::string& name) const {
  const LayerPattern pattern = split_layer(name);
  if (pattern.layer.empty()) return name;
  const int64_t layer = std::stoll(pattern.layer);
  LATHE_CHECK(layer < config().layers);
  return with_layer(pattern.text, std::to_string(layers_[static_cast<size_t>(layer)]));
}

const ReducedModel::Kept* ReducedModel::kept_in(const std::string& name) const {
  const LayerPattern pattern = split_layer(name);
  return pattern.layer.empty() ? nullptr : &kept_[std::stoul(pattern.layer)];
}

std::vector<int64_t> ReducedModel::head_rows(const Kept& kept, int64_t heads_each) const {
  if (config().kv_heads == source_.config().kv_heads) return {};
  const int64_t size = heads_each * config().head_size;
  std::vector<int64_t> rows;
  for (const int64_t head : kept.kv_heads) {
    for (int64_t i = 0; i < size; ++i) rows.push_back(head * size + i);
  }
  return rows;
}

std::vector<int64_t> ReducedModel::kept_rows(const std::string& name) const {
  const Kept* kept = kept_in(name);
  if (!kept) return {};
  if (ends_in(name, {"q_proj"})) return head_rows(*kept, config().heads / config().kv_heads);
  if (ends_in(name, {"k_proj", "v_proj"})) return head_rows(*kept, 1);
  const bool fewer = config().ffn != source_.config().ffn;
  return fewer && ends_in(name, {"gate_proj", "up_proj"}) ? kept->channels : std::vector<int64_t>();
}

std::vector<int64_t> ReducedModel::kept_columns(const std::string& name) const {
  const Kept* kept = kept_in(name);
  if (!kept) return {};
  if (name.ends_with("o_proj")) return head_rows(*kept, config().heads / config().kv_heads);
  const bool fewer = config().ffn != source_.config().ffn;
  return fewer && name.ends_with("down_proj") ? kept->channels : std::vector<int64_t>();
}

Result<WeightMatrix> ReducedModel::matrix(const std::string& name, int64_t rows,
                                          int64_t cols) const {
  if (const auto it = replaced_.find(name); it != replaced_.end()) return it->second;
  const std::vector<int64_t> rows_kept = kept_rows(name), cols_kept = kept_columns(name);
  if (rows_kept.empty() && cols_kept.empty()) {
    return source_.matrix(source_name(name), rows, cols);
  }
  int64_t source_rows = 0, source_cols = 0;
  for (const MatrixInfo& info : matrices_of(source_.config())) {
    if (info.name != source_name(name)) continue;
    source_rows = info.rows;
    source_cols = info.cols;
  }
  LATHE_TRY(const WeightMatrix whole, source_.matrix(source_name(name), source_rows, source_cols));
  std::vector<float> cut;
  if (rows_kept.empty()) {
    cut = take_columns(whole.decode(), source_cols, cols_kept);
  } else {
    cut.resize(static_cast<size_t>(rows * cols));
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t from = rows_kept[static_cast<size_t>(r)];
      whole.decode_rows(from, from + 1, cut.data() + r * cols);
    }
  }
  for (const Bytes& part : whole.parts()) release_pages(part);
  return WeightMatrix::encode(float_format_of(whole), cut.data(), rows, cols, name);
}

Result<std::vector<float>> ReducedModel::vector(const std::string& name, int64_t size) const {
  const std::vector<int64_t> kept = kept_rows(name);
  if (kept.empty()) return source_.vector(source_name(name), size);
  int64_t source_size = 0;
  for (const VectorInfo& info : vectors_of(source_.config())) {
    if (info.name == source_name(name)) source_size = info.size;
  }
  LATHE_TRY(const std::vector<float> all, source_.vector(source_name(name), source_size));
  return take_columns(all, source_size, kept);
}

}  // namespace lathe
