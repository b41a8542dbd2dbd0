// Llama 1–3.x, TinyLlama, SmolLM2 and Mistral (Llama with a sliding window).
#include "lathe/io/gguf.h"
#include "lathe/model/families/config_reader.h"
#include "lathe/model/families/list.h"

namespace lathe {
namespace {

Result<ModelConfig> read_llama(const nlohmann::json& json) {
  ConfigReader reader(json);
  ModelConfig c = read_common(reader, false);
  const bool bias = reader.boolean("attention_bias", false);
  c.qkv_bias = c.o_bias = bias;
  c.mlp_bias = reader.boolean("mlp_bias", false);
  return finish(reader, std::move(c));
}

Result<ModelConfig> read_mistral(const nlohmann::json& json) {
  ConfigReader reader(json);
  ModelConfig c = read_common(reader, false);
  c.window = reader.integer("sliding_window", 0);
  return finish(reader, std::move(c));
}

Status gguf_llama(const GgufFile&, ModelConfig&) { return {}; }

}  // namespace

const std::vector<HfName>& llama_norm_names() {
  static const std::vector<HfName> names = {
      {"model.layers.{}.input_norm", "model.layers.{}.input_layernorm"},
      {"model.layers.{}.mlp_input_norm", "model.layers.{}.post_attention_layernorm"},
  };
  return names;
}

Family llama_family() {
  return {"llama", {"llama"}, {"llama"}, read_llama, gguf_llama, llama_norm_names(), {""}};
}

Family mistral_family() {
  return {"mistral", {"mistral"}, {"mistral"}, read_mistral, gguf_llama, llama_norm_names(), {""}};
}

}  // namespace lathe
