// Checkpoint: where the weights of a model come from, under canonical names whatever the file calls
// them.
//
// Canonical names (those of Hugging Face's Llama, for every family):
//   model.embed_tokens  model.embed_positions  model.embed_token_types  lm_head         matrices
//   model.layers.N.self_attn.{q,k,v,o}_proj  model.layers.N.mlp.{gate,up,down}_proj     matrices
//   model.layers.N.{input_norm, attention_output_norm, mlp_input_norm, mlp_output_norm} vectors
//   model.layers.N.self_attn.{q_norm,k_norm}  model.norm  model.embed_norm               vectors
// A linear's bias and a layer norm's bias are the vector "<name>.bias". Fused matrices are given in
// their parts, transposed ones (GPT-2) the right way round, GGUF's permuted query and key rows in
// Hugging Face order, Gemma's norm weights as the factor that is applied (1 + w).
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "lathe/base/result.h"
#include "lathe/formats/weight_matrix.h"
#include "lathe/model/config.h"

namespace lathe {

class Checkpoint {
 public:
  virtual ~Checkpoint() = default;

  const ModelConfig& config() const { return config_; }
  const std::string& path() const { return path_; }

  virtual bool has(const std::string& name) const = 0;
  // Checks the shape, which the caller knows from the configuration.
  virtual Result<WeightMatrix> matrix(const std::string& name, int64_t rows,
                                      int64_t cols) const = 0;
  virtual Result<std::vector<float>> vector(const std::string& name, int64_t size) const = 0;

  // Files whose bytes make up the model (weights only).
  virtual std::vector<std::string> weight_files() const = 0;
  // Where the tokenizer is: a directory, or the GGUF file itself.
  virtual std::string tokenizer_path() const { return path_; }

 protected:
  Checkpoint(std::string path, ModelConfig config)
      : path_(std::move(path)), config_(std::move(config)) {}

 private:
  std::string path_;
  ModelConfig config_;
};

// MODEL as typed by the user: a directory, a GGUF file, a hub id in the local cache, or "bundled".
Result<std::string> resolve_model(const std::string& model);

// What the caller can use; the other kind is refused with what it is good for.
enum class ModelKind : uint8_t { kDecoder, kEncoder, kAny };
// A directory (Hugging Face or Lathe) or GGUF file.
Result<std::unique_ptr<const Checkpoint>> open_checkpoint(const std::string& path,
                                                          ModelKind wanted = ModelKind::kDecoder);

// What a configuration needs, in file order. Used by the loader, the compressor and the planner
// alike.
struct MatrixInfo {
  std::string name;
  int64_t rows, cols;
  int64_t layer;  // -1 outside of the blocks
  bool linear;    // false for embedding tables
};
struct VectorInfo {
  std::string name;
  int64_t size;
  int64_t layer;
  bool optional = false;
};
std::vector<MatrixInfo> matrices_of(const ModelConfig& config);
std::vector<VectorInfo> vectors_of(const ModelConfig& config);

}  // namespace lathe
