// Gemma, Gemma-2 (soft caps, alternating windows, norms on both sides) and Gemma-3 text models
// (QK-norm, five local layers to one global, two rotary bases).
#include <cmath>

#include "lathe/io/gguf.h"
#include "lathe/model/families/config_reader.h"
#include "lathe/model/families/list.h"

namespace lathe {
namespace {

ModelConfig read_shared(ConfigReader& reader) {
  ModelConfig c = read_common(reader, true, 256);
  const std::string name =
      reader.string("hidden_activation", reader.string("hidden_act", "gelu_pytorch_tanh"));
  // The first Gemma releases said "gelu" and meant its tanh form.
  if (const auto f = activation_from_name(name == "gelu" ? "gelu_pytorch_tanh" : name)) {
    c.activation = *f;
  } else {
    reader.fail(f.error());
  }
  const bool bias = reader.boolean("attention_bias", false);
  c.qkv_bias = c.o_bias = bias;
  c.embedding_scale = std::sqrt(static_cast<double>(c.hidden));
  const double scalar = reader.number("query_pre_attn_scalar", static_cast<double>(c.head_size));
  if (!(scalar > 0)) {
    reader.fail(bad_input("'query_pre_attn_scalar' must be positive"));
  } else {
    c.attention_scale = 1.0 / std::sqrt(scalar);
  }
  return c;
}

Result<ModelConfig> read_gemma(const nlohmann::json& json) {
  ConfigReader reader(json);
  return finish(reader, read_shared(reader));
}

Result<ModelConfig> read_gemma2(const nlohmann::json& json) {
  ConfigReader reader(json);
  ModelConfig c = read_shared(reader);
  c.output_norms = true;
  c.attention_soft_cap = reader.number("attn_logit_softcapping", 0.0);
  c.final_soft_cap = reader.number("final_logit_softcapping", 0.0);
  c.window = reader.integer("sliding_window", 4096);
  c.sliding = read_sliding(reader, c.layers, [](int64_t layer) { return layer % 2 == 0; });
  return finish(reader, std::move(c));
}

Result<ModelConfig> read_gemma3(const nlohmann::json& json) {
  ConfigReader reader(json);
  ModelConfig c = read_shared(reader);
  c.output_norms = true;
  c.qk_norm = true;
  c.final_soft_cap = reader.number("final_logit_softcapping", 0.0);
  c.attention_soft_cap = reader.number("attn_logit_softcapping", 0.0);
  c.window = reader.integer("sliding_window", 4096);
  const int64_t pattern =
      reader.integer("sliding_window_pattern", reader.integer("_sliding_window_pattern", 6));
  if (pattern < 1) return bad_input("'sliding_window_pattern' is {}", pattern);
  c.sliding =
      read_sliding(reader, c.layers, [&](int64_t layer) { return (layer + 1) % pattern != 0; });
  c.rope = read_rope(reader, c.head_size, 1e6, "full_attention");
  c.two_ropes = true;
  c.local_rope = RopeConfig{};
  c.local_rope.rotary = c.head_size;
  c.local_rope.theta = reader.number("rope_local_base_freq", 10000.0);
  if (const auto* both = reader.object("rope_parameters");
      both && both->contains("sliding_attention")) {
    c.local_rope = read_rope(reader, c.head_size, 10000.0, "sliding_attention");
  }
  return finish(reader, std::move(c));
}

// Multimodal checkpoints nest the language model's configuration, without what is the default of
// the 4B model; its tensors stand behind a prefix.
Result<ModelConfig> read_gemma3_any(const nlohmann::json& json) {
  const auto it = json.find("text_config");
  if (it == json.end() || !it->is_object()) return read_gemma3(json);
  nlohmann::json text = {
      {"vocab_size", 262208}, {"num_attention_heads", 8},          {"num_key_value_heads", 4},
      {"head_dim", 256},      {"max_position_embeddings", 131072}, {"query_pre_attn_scalar", 256}};
  text.update(*it);
  for (const char* key : {"bos_token_id", "eos_token_id"}) {
    if (json.contains(key)) text[key] = json[key];
  }
  return read_gemma3(text);
}

void gguf_shared(ModelConfig& c) {
  c.activation = Activation::kGeluTanh;
  c.embedding_scale = std::sqrt(static_cast<double>(c.hidden));
}

Status gguf_gemma(const GgufFile&, ModelConfig& c) {
  gguf_shared(c);
  return {};
}

Status gguf_gemma2(const GgufFile& gguf, ModelConfig& c) {
  gguf_shared(c);
  c.output_norms = true;
  c.attention_soft_cap = gguf.number("gemma2.attn_logit_softcapping").value_or(50.0);
  c.final_soft_cap = gguf.number("gemma2.final_logit_softcapping").value_or(30.0);
  c.window = gguf.integer("gemma2.attention.sliding_window").value_or(4096);
  for (int64_t i = 0; i < c.layers; ++i) c.sliding.push_back(i % 2 == 0);
  // The metadata lacks query_pre_attn_scalar: it is hidden / heads in the 27B model (46 layers) and
  // the head size in the others.
  if (c.layers == 46) {
    c.attention_scale =
        1.0 / std::sqrt(static_cast<double>(c.hidden) / static_cast<double>(c.heads));
  }
  return {};
}

Status gguf_gemma3(const GgufFile& gguf, ModelConfig& c) {
  gguf_shared(c);
  c.output_norms = true;
  c.qk_norm = true;
  c.final_soft_cap = gguf.number("gemma3.final_logit_softcapping").value_or(0.0);
  c.window = gguf.integer("gemma3.attention.sliding_window").value_or(1024);
  const int64_t pattern = gguf.integer("gemma3.attention.sliding_window_pattern").value_or(6);
  if (pattern < 1) return bad_input("gemma3.attention.sliding_window_pattern is {}", pattern);
  for (int64_t i = 0; i < c.layers; ++i) c.sliding.push_back((i + 1) % pattern != 0);
  if (!gguf.has("gemma3.rope.freq_base")) c.rope.theta = 1e6;
  c.two_ropes = true;
  c.local_rope = RopeConfig{};
  c.local_rope.rotary = c.head_size;
  c.local_rope.theta = gguf.number("gemma3.rope.freq_base_swa").value_or(10000.0);
  // As above: the 27B model (62 layers) scales by hidden / heads.
  if (c.layers == 62) {
    c.attention_scale =
        1.0 / std::sqrt(static_cast<double>(c.hidden) / static_cast<double>(c.heads));
  }
  return {};
}

std::vector<HfName> sandwich_names() {
  return {{"model.layers.{}.input_norm", "model.layers.{}.input_layernorm"},
          {"model.layers.{}.attention_output_norm", "model.layers.{}.post_attention_layernorm"},
          {"model.layers.{}.mlp_input_norm", "model.layers.{}.pre_feedforward_layernorm"},
          {"model.layers.{}.mlp_output_norm", "model.layers.{}.post_feedforward_layernorm"}};
}

}  // namespace

Family gemma_family() {
  return {"gemma", {"gemma"}, {"gemma"}, read_gemma, gguf_gemma, llama_norm_names(), {""}, true};
}

Family gemma2_family() {
  return {"gemma2", {"gemma2"}, {"gemma2"}, read_gemma2, gguf_gemma2, sandwich_names(), {""}, true};
}

Family gemma3_family() {
  return {"gemma3",         {"gemma3_text", "gemma3"}, {"gemma3"}, read_gemma3_any, gguf_gemma3,
          sandwich_names(), {"", "language_model."},   true};
}

}  // namespace lathe
