// Phi-1, -1.5 and -2 (layer norms, parallel residual, partial rotary) and Phi-3 (Llama with fused
// matrices).
#include <cmath>

#include "lathe/io/gguf.h"
#include "lathe/model/families/config_reader.h"
#include "lathe/model/families/list.h"

namespace lathe {
namespace {

int64_t rotary_of(ConfigReader& reader, int64_t head_size, double by_default) {
  double share = reader.number("partial_rotary_factor", by_default);
  if (const auto* parameters = reader.object("rope_parameters")) {
    ConfigReader inner(*parameters);
    share = inner.number("partial_rotary_factor", share);
    if (!inner.status().ok()) reader.fail(inner.status().error());
  }
  if (!(share >= 0 && share <= 1)) {
    reader.fail(bad_input("'partial_rotary_factor' must be between 0 and 1, found {}", share));
    return 0;
  }
  return static_cast<int64_t>(static_cast<double>(head_size) * share);
}

Result<ModelConfig> read_phi(const nlohmann::json& json) {
  ConfigReader reader(json);
  ModelConfig c = read_common(reader, false);
  c.norm = NormKind::kLayer;
  c.norm_eps = reader.number("layer_norm_eps", 1e-5);
  c.parallel_residual = true;
  c.gated = false;
  c.qkv_bias = c.o_bias = c.mlp_bias = c.head_bias = true;
  c.rope.rotary = rotary_of(reader, c.head_size, 0.5);
  if (reader.boolean("qk_layernorm", false)) {
    reader.fail(unsupported("'qk_layernorm' is not supported in a phi model"));
  }
  if (!reader.has("hidden_act")) c.activation = Activation::kGeluTanh;
  return finish(reader, std::move(c));
}

Result<ModelConfig> read_phi3(const nlohmann::json& json) {
  ConfigReader reader(json);
  ModelConfig c = read_common(reader, false);
  c.window = reader.integer("sliding_window", 0);
  c.rope.rotary = rotary_of(reader, c.head_size, 1.0);
  return finish(reader, std::move(c));
}

Status gguf_phi2(const GgufFile&, ModelConfig& c) {
  c.norm = NormKind::kLayer;
  c.parallel_residual = true;
  c.gated = false;
  c.qkv_bias = c.o_bias = c.mlp_bias = c.head_bias = true;
  c.activation = Activation::kGeluTanh;
  return {};
}

Status gguf_phi3(const GgufFile& gguf, ModelConfig& c) {
  c.window = gguf.integer("phi3.attention.sliding_window").value_or(0);
  return {};
}

}  // namespace

Family phi_family() {
  return {"phi",
          {"phi"},
          {"phi2"},
          read_phi,
          gguf_phi2,
          {{"model.layers.{}.input_norm", "model.layers.{}.input_layernorm"},
           {"model.layers.{}.self_attn.o_proj", "model.layers.{}.self_attn.dense"},
           {"model.layers.{}.mlp.up_proj", "model.layers.{}.mlp.fc1"},
           {"model.layers.{}.mlp.down_proj", "model.layers.{}.mlp.fc2"},
           {"model.norm", "model.final_layernorm"}},
          {""}};
}

Family phi3_family() {
  std::vector<HfName> names = llama_norm_names();
  int part = 0;
  for (const char* which : {"q", "k", "v"}) {
    names.push_back({fmt::format("model.layers.{{}}.self_attn.{}_proj", which),
                     "model.layers.{}.self_attn.qkv_proj", part++});
  }
  names.push_back({"model.layers.{}.mlp.gate_proj", "model.layers.{}.mlp.gate_up_proj", 0});
  names.push_back({"model.layers.{}.mlp.up_proj", "model.layers.{}.mlp.gate_up_proj", 1});
  return {"phi3", {"phi3"}, {"phi3"}, read_phi3, gguf_phi3, names, {""}};
}

}  // namespace lathe
