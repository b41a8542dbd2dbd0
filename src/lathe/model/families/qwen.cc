// Qwen2, Qwen2.5 (biases on q, k, v) and Qwen3 (QK-norm instead).
#include "lathe/io/gguf.h"
#include "lathe/model/families/config_reader.h"
#include "lathe/model/families/list.h"

namespace lathe {
namespace {

void read_window(ConfigReader& reader, ModelConfig& c) {
  if (!reader.boolean("use_sliding_window", false)) return;
  c.window = reader.integer("sliding_window", 0);
  const int64_t full_layers = reader.integer("max_window_layers", 28);
  c.sliding = read_sliding(reader, c.layers, [&](int64_t layer) { return layer >= full_layers; });
}

Result<ModelConfig> read_qwen2(const nlohmann::json& json) {
  ConfigReader reader(json);
  ModelConfig c = read_common(reader, false);
  c.qkv_bias = true;
  read_window(reader, c);
  return finish(reader, std::move(c));
}

Result<ModelConfig> read_qwen3(const nlohmann::json& json) {
  ConfigReader reader(json);
  ModelConfig c = read_common(reader, false, 128);
  c.qkv_bias = c.o_bias = reader.boolean("attention_bias", false);
  c.qk_norm = true;
  read_window(reader, c);
  return finish(reader, std::move(c));
}

Status gguf_qwen2(const GgufFile&, ModelConfig& c) {
  c.qkv_bias = true;
  return {};
}

Status gguf_qwen3(const GgufFile&, ModelConfig& c) {
  c.qk_norm = true;
  return {};
}

}  // namespace

Family qwen2_family() {
  return {"qwen2", {"qwen2"}, {"qwen2"}, read_qwen2, gguf_qwen2, llama_norm_names(), {""}};
}

Family qwen3_family() {
  return {"qwen3", {"qwen3"}, {"qwen3"}, read_qwen3, gguf_qwen3, llama_norm_names(), {""}};
}

}  // namespace lathe
