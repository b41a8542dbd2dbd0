// GPT-2: learned positions, layer norms, one fused and transposed q·k·v matrix.
#include "lathe/io/gguf.h"
#include "lathe/model/families/config_reader.h"
#include "lathe/model/families/list.h"

#include <cmath>

namespace lathe {
namespace {

void set_features(ModelConfig& c) {
  c.norm = NormKind::kLayer;
  c.gated = false;
  c.qkv_bias = c.o_bias = c.mlp_bias = true;
  c.learned_positions = true;
  c.rope.rotary = 0;
}

Result<ModelConfig> read_gpt2(const nlohmann::json& json) {
  ConfigReader reader(json);
  ModelConfig c;
  c.family = "gpt2";
  c.vocab = reader.integer("vocab_size");
  c.hidden = reader.integer("n_embd");
  c.layers = reader.integer("n_layer");
  c.heads = c.kv_heads = reader.integer("n_head");
  if (c.heads > 0) c.head_size = c.hidden / c.heads;
  c.ffn = reader.integer("n_inner", 4 * c.hidden);
  c.max_positions = reader.integer("n_positions", reader.integer("n_ctx", 1024));
  c.norm_eps = reader.number("layer_norm_epsilon", 1e-5);
  c.tied = reader.boolean("tie_word_embeddings", true);
  c.attention_scale = reader.boolean("scale_attn_weights", true) && c.head_size > 0
                          ? 1.0 / std::sqrt(static_cast<double>(c.head_size))
                          : 1.0;
  c.bos = reader.integer("bos_token_id", -1);
  c.eos = reader.integers("eos_token_id");
  set_features(c);
  if (const auto f = activation_from_name(reader.string("activation_function", "gelu_new"))) {
    c.activation = *f;
  } else {
    reader.fail(f.error());
  }
  if (reader.boolean("scale_attn_by_inverse_layer_idx", false)) {
    reader.fail(unsupported("'scale_attn_by_inverse_layer_idx' is not supported"));
  }
  return finish(reader, std::move(c));
}

Status gguf_gpt2(const GgufFile&, ModelConfig& c) {
  set_features(c);
  c.activation = Activation::kGeluTanh;
  return {};
}

}  // namespace

Family gpt2_family() {
  return {"gpt2",
          {"gpt2"},
          {"gpt2"},
          read_gpt2,
          gguf_gpt2,
          {{"model.embed_tokens", "wte"},
           {"model.embed_positions", "wpe"},
           {"model.layers.{}.input_norm", "h.{}.ln_1"},
           {"model.layers.{}.self_attn.q_proj", "h.{}.attn.c_attn", 0, true},
           {"model.layers.{}.self_attn.k_proj", "h.{}.attn.c_attn", 1, true},
           {"model.layers.{}.self_attn.v_proj", "h.{}.attn.c_attn", 2, true},
           {"model.layers.{}.self_attn.o_proj", "h.{}.attn.c_proj", -1, true},
           {"model.layers.{}.mlp_input_norm", "h.{}.ln_2"},
           {"model.layers.{}.mlp.up_proj", "h.{}.mlp.c_fc", -1, true},
           {"model.layers.{}.mlp.down_proj", "h.{}.mlp.c_proj", -1, true},
           {"model.norm", "ln_f"}},
          {"transformer.", ""}};
}

}  // namespace lathe
