#include "lathe/compress/rotated_model.h"

#include "lathe/base/mapped_file.h"
#include "lathe/model/hf_names.h"

namespace lathe {
namespace {

ModelConfig rotated_config(ModelConfig config, bool stream) {
  if (stream) config.tied = false;
  return config;
}

bool writes_stream(const std::string& name) {
  return name.ends_with("o_proj") || name.ends_with("down_proj");
}

// The norm whose gain a matrix that reads the stream takes over; empty: it reads something else.
std::string norm_before(const std::string& name) {
  if (name == "lm_head") return "model.norm";
  const LayerPattern pattern = split_layer(name);
  if (pattern.layer.empty() || writes_stream(name)) return "";
  const bool attention = pattern.text.find("self_attn") != std::string::npos;
  return with_layer(attention ? "model.layers.{}.input_norm" : "model.layers.{}.mlp_input_norm",
                    pattern.layer);
}

bool is_stream_norm(const std::string& name) {
  return name == "model.norm" || name.ends_with(".input_norm") || name.ends_with(".mlp_input_norm");
}

}  // namespace

Status can_rotate(const ModelConfig& c) {
  if (c.norm != NormKind::kRms) {
    return unsupported(
               "the stream of a {} model cannot be rotated: its norms subtract a mean, "
               "which is not the same in other coordinates",
               c.family)
        .with_hint("rotate: {stream: false} rotates the values of the heads only");
  }
  if (c.output_norms) {
    return unsupported(
               "the stream of a {} model cannot be rotated: the gains of the norms behind "
               "attention and MLP cannot be moved into a matrix",
               c.family)
        .with_hint("rotate: {stream: false} rotates the values of the heads only");
  }
  return {};
}

RotatedModel::RotatedModel(const Checkpoint& source, std::optional<Rotation> stream,
                           std::optional<Rotation> heads, ThreadPool& pool)
    : Checkpoint(source.path(), rotated_config(source.config(), stream.has_value())),
      source_(source),
      stream_(std::move(stream)),
      heads_(std::move(heads)),
      pool_(pool) {}

Result<WeightMatrix> RotatedModel::matrix(const std::string& name, int64_t rows,
                                          int64_t cols) const {
  const bool head_of_table = name == "lm_head" && source_.config().tied;
  LATHE_TRY(const WeightMatrix matrix,
            source_.matrix(head_of_table ? "model.embed_tokens" : name, rows, cols));
  const bool values = heads_ && (name.ends_with("v_proj") || name.ends_with("o_proj"));
  if (!stream_ && !values) return matrix;
  std::vector<float> w = matrix.decode(pool_);
  for (const Bytes& part : matrix.parts()) release_pages(part);
  if (values) rotate_heads(name, rows, cols, w);
  if (stream_) LATHE_OK(rotate_stream(name, rows, cols, w));
  return WeightMatrix::of_floats(w.data(), rows, cols);
}

// Of the rows that make a head's values, or the columns that read them.
void RotatedModel::rotate_heads(const std::string& name, int64_t rows, int64_t cols,
                                std::vector<float>& w) const {
  const int64_t size = heads_->size();
  if (name.ends_with("o_proj")) return heads_->rotate_rows(w.data(), rows * cols / size, pool_);
  for (int64_t r = 0; r < rows; r += size) heads_->rotate_columns(w.data() + r * cols, cols, pool_);
}

Status RotatedModel::rotate_stream(const std::string& name, int64_t rows, int64_t cols,
                                   std::vector<float>& w) const {
  if (writes_stream(name)) {
    stream_->rotate_columns(w.data(), cols, pool_);
    return {};
  }
  if (const std::string norm = norm_before(name); !norm.empty()) {
    LATHE_TRY(const std::vector<float> gains, source_.vector(norm, cols));
    for (int64_t i = 0; i < rows * cols; ++i) w[size_t(i)] *= gains[size_t(i % cols)];
  }
  stream_->rotate_rows(w.data(), rows, pool_);
  return {};
}

Result<std::vector<float>> RotatedModel::vector(const std::string& name, int64_t size) const {
  if (stream_ && is_stream_norm(name)) return std::vector<float>(static_cast<size_t>(size), 1.0f);
  LATHE_TRY(std::vector<float> values, source_.vector(name, size));
  if (heads_ && name.ends_with("v_proj.bias")) {
    heads_->rotate_rows(values.data(), size / heads_->size(), pool_);
  }
  const bool added = name.ends_with("o_proj.bias") || name.ends_with("down_proj.bias");
  if (stream_ && added) stream_->rotate_rows(values.data(), 1, pool_);
  return values;
}

}  // namespace lathe
