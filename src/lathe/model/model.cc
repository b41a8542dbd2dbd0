#include "lathe/model/model.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <set>

#include "lathe/base/mapped_file.h"
#include "lathe/base/progress.h"
#include "lathe/model/rope.h"

namespace lathe {
namespace {

constexpr int64_t kDefaultContext = 4096;

// Loads the parts of a model by their canonical names.
class Loader {
 public:
  Loader(const Checkpoint& checkpoint, Ops& ops) : checkpoint_(checkpoint), ops_(ops) {
    for (MatrixInfo& m : matrices_of(checkpoint.config())) matrices_.emplace(m.name, m);
    for (VectorInfo& v : vectors_of(checkpoint.config())) vectors_.emplace(v.name, v);
  }

  Result<WeightMatrix> matrix(const std::string& name) {
    const MatrixInfo& info = matrices_.at(name);
    LATHE_TRY(WeightMatrix matrix, checkpoint_.matrix(name, info.rows, info.cols));
    parameters += info.rows * info.cols;
    stored_bytes += matrix.bytes();
    return matrix;
  }

  Status linear(const std::string& name, Linear& out) {
    LATHE_TRY(const WeightMatrix weights, matrix(name));
    return pack(name, weights, out);
  }

  Status pack(const std::string& name, const WeightMatrix& weights, Linear& out) {
    if (name != "lm_head") formats.insert(weights.format().spec());
    out.name = name;
    out.weight = ops_.pack(weights);
    // Packing read the whole source; its pages are read from the file again if anything needs them.
    for (const Bytes& part : weights.parts()) release_pages(part);
    weights_bytes += out.weight->bytes();
    return vector(name + ".bias", out.bias);
  }

  // Leaves `out` empty when the configuration has no such vector.
  Status vector(const std::string& name, std::vector<float>& out) {
    const auto it = vectors_.find(name);
    if (it == vectors_.end() || (it->second.optional && !checkpoint_.has(name))) return {};
    LATHE_TRY(out, checkpoint_.vector(name, it->second.size));
    const auto count = static_cast<int64_t>(out.size());
    parameters += count;
    stored_bytes += 4 * count;
    weights_bytes += 4 * count;
    return {};
  }

  Status norm(const std::string& name, Norm& out) {
    const ModelConfig& c = checkpoint_.config();
    out.name = name;
    out.eps = static_cast<float>(c.norm_eps);
    out.kind = name.ends_with("q_norm") || name.ends_with("k_norm") ? NormKind::kRms : c.norm;
    LATHE_OK(vector(name, out.weight));
    return vector(name + ".bias", out.bias);
  }

  Result<Layer> layer(int64_t index) {
    const std::string p = fmt::format("model.layers.{}.", index);
    Layer layer;
    LATHE_OK(norm(p + "input_norm", layer.input_norm));
    LATHE_OK(norm(p + "attention_output_norm", layer.attention_output_norm));
    LATHE_OK(norm(p + "mlp_input_norm", layer.mlp_input_norm));
    LATHE_OK(norm(p + "mlp_output_norm", layer.mlp_output_norm));
    LATHE_OK(norm(p + "self_attn.q_norm", layer.q_norm));
    LATHE_OK(norm(p + "self_attn.k_norm", layer.k_norm));
    LATHE_OK(linear(p + "self_attn.q_proj", layer.q));
    LATHE_OK(linear(p + "self_attn.k_proj", layer.k));
    LATHE_OK(linear(p + "self_attn.v_proj", layer.v));
    LATHE_OK(linear(p + "self_attn.o_proj", layer.o));
    if (checkpoint_.config().gated) LATHE_OK(linear(p + "mlp.gate_proj", layer.gate));
    LATHE_OK(linear(p + "mlp.up_proj", layer.up));
    LATHE_OK(linear(p + "mlp.down_proj", layer.down));
    return layer;
  }

  int64_t parameters = 0, weights_bytes = 0, stored_bytes = 0;
  std::set<std::string> formats;

 private:
  const Checkpoint& checkpoint_;
  Ops& ops_;
  std::map<std::string, MatrixInfo> matrices_;
  std::map<std::string, VectorInfo> vectors_;
};

// Packed weights are about the size of the files; a model that cannot fit is refused before it is
// read.
Status check_memory(const Checkpoint& checkpoint) {
  int64_t needed = 0;
  for (const std::string& file : checkpoint.weight_files()) {
    std::error_code error;
    const auto bytes = std::filesystem::file_size(file, error);
    if (error) return failed("{}: {}", file, error.message());
    needed += static_cast<int64_t>(bytes);
  }
  const int64_t available = available_memory_bytes();
  if (needed <= available) return {};
  return no_room("{}: the weights need {} MB, {} MB are free", checkpoint.path(), needed >> 20,
                 available >> 20)
      .with_hint("compress the model first (lathe compress works block by block), or free memory");
}

}  // namespace

Result<Layer> load_layer(const Checkpoint& checkpoint, Ops& ops, int64_t index) {
  return Loader(checkpoint, ops).layer(index);
}

Result<std::shared_ptr<const Model>> load_model(const Checkpoint& checkpoint, Ops& ops,
                                                const LoadOptions& options) {
  const ModelConfig& c = checkpoint.config();
  LATHE_OK(check_memory(checkpoint));
  auto model = std::make_shared<Model>();
  model->path = checkpoint.path();
  model->config = c;
  model->kv = options.kv;
  model->context =
      options.context > 0 ? options.context : std::min(c.max_positions, kDefaultContext);
  if (c.learned_positions && model->context > c.max_positions) {
    return bad_input("a context of {} is more than the {} positions that the model has learned",
                     model->context, c.max_positions);
  }
  Loader loader(checkpoint, ops);
  Progress progress("loading", c.layers + 1, "layers");
  LATHE_TRY(model->embedding, loader.matrix("model.embed_tokens"));
  if (c.learned_positions) {
    LATHE_TRY(model->positions, loader.matrix("model.embed_positions"));
  }
  if (c.token_types > 0) {
    LATHE_TRY(model->token_types, loader.matrix("model.embed_token_types"));
  }
  // The largest matrix comes first: while it is packed it is in memory twice, which is then no more
  // than the whole model takes in the end.
  if (c.encoder) {
    loader.weights_bytes += model->embedding.bytes();
  } else if (c.tied) {
    LATHE_OK(loader.pack("lm_head", model->embedding, model->head));
  } else {
    LATHE_OK(loader.linear("lm_head", model->head));
    loader.weights_bytes += model->embedding.bytes();
  }
  for (int64_t i = 0; i < c.layers; ++i) {
    LATHE_TRY(Layer layer, loader.layer(i));
    model->layers.push_back(std::move(layer));
    progress.advance();
  }
  LATHE_OK(loader.norm("model.embed_norm", model->embedding_norm));
  LATHE_OK(loader.norm("model.norm", model->final_norm));
  loader.weights_bytes += model->positions.bytes() + model->token_types.bytes();
  model->rope = make_rope(c.rope, model->context, c.max_positions);
  if (c.two_ropes) model->local_rope = make_rope(c.local_rope, model->context, c.max_positions);
  model->parameters = loader.parameters;
  model->weights_bytes = loader.weights_bytes;
  model->stored_bytes = loader.stored_bytes;
  model->format = loader.formats.size() == 1 ? *loader.formats.begin() : "mixed";
  return std::shared_ptr<const Model>(std::move(model));
}

Result<std::shared_ptr<const Model>> load_model(const std::string& path, Ops& ops,
                                                const LoadOptions& options) {
  LATHE_TRY(const auto checkpoint, open_checkpoint(path));
  return load_model(*checkpoint, ops, options);
}

}  // namespace lathe
