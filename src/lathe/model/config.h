// ModelConfig: an architecture as a list of features: a decoder, or an encoder of texts. Families
// fill it from config.json or GGUF metadata; the forward pass reads features only and never asks
// for the family.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "lathe/backend/ops.h"
#include "lathe/base/result.h"

namespace lathe {

enum class RopeScaling : uint8_t { kNone, kLinear, kDynamic, kLlama3, kYarn, kLongRope, kFactors };

// Rotary positions before they are worked out for a context length (see rope.h).
struct RopeConfig {
  double theta = 10000.0;
  int64_t rotary = 0;  // rotated elements of each head; 0: no rotation
  RopeScaling scaling = RopeScaling::kNone;
  double factor = 1.0;
  int64_t original_context = 0;
  double low_freq_factor = 1.0, high_freq_factor = 4.0;  // llama3
  double beta_fast = 32.0, beta_slow = 1.0;              // yarn
  bool truncate = true;                                  // yarn: whole-number correction range
  double attention_factor = 0.0;                         // 0: worked out from factor
  double mscale = 0.0, mscale_all_dim = 0.0;             // yarn
  std::vector<float> short_factor, long_factor;          // longrope; kFactors uses short_factor
};

struct ModelConfig {
  std::string family;  // for people only
  int64_t vocab = 0, hidden = 0, layers = 0, heads = 0, kv_heads = 0, head_size = 0, ffn = 0;
  int64_t max_positions = 0;

  // Every position sees the whole sequence, and there is neither final norm nor head: the result is
  // the hidden states (BERT). The window is 0 and the head not tied.
  bool encoder = false;

  NormKind norm = NormKind::kRms;
  double norm_eps = 1e-5;
  bool output_norms = false;       // norms after attention and after the MLP as well (Gemma-2, -3)
  bool post_norm = false;          // those two alone, each of the sum with the residual (BERT)
  bool embedding_norm = false;     // of the summed embeddings
  bool qk_norm = false;            // RMS norm of each query and key head
  bool parallel_residual = false;  // attention and MLP read the same normed input (Phi-2)

  Activation activation = Activation::kSilu;
  bool gated = true;
  bool qkv_bias = false, o_bias = false, mlp_bias = false, head_bias = false;

  bool learned_positions = false;
  int64_t position_offset = 0;  // first row of the learned table that is used (OPT: 2)
  int64_t token_types = 0;  // rows of the table of token types, of which the first is used; 0: none
  RopeConfig rope, local_rope;  // local: for sliding layers, where `two_ropes`
  bool two_ropes = false;

  double attention_scale = 0;  // scores = scale · q·k
  double attention_soft_cap = 0, final_soft_cap = 0;
  double embedding_scale = 1;
  int64_t window = 0;
  std::vector<bool> sliding;  // per layer; empty: every layer, if window > 0
  bool tied = false;          // lm_head is the embedding table

  int64_t bos = -1;
  std::vector<int64_t> eos;

  int64_t window_of(int64_t layer) const {
    return sliding.empty() || sliding[static_cast<size_t>(layer)] ? window : 0;
  }
  bool local(int64_t layer) const { return two_ropes && window_of(layer) > 0; }
  // An encoder needs keys and values of the layer that it is at, and no others.
  KvShape kv_shape() const { return {encoder ? 1 : layers, kv_heads, head_size}; }
};

// Refuses sizes that are zero, absurd or do not fit each other.
Status validate(const ModelConfig& config);

nlohmann::json to_json(const ModelConfig& config);
Result<ModelConfig> config_from_json(const nlohmann::json& j);

}  // namespace lathe
