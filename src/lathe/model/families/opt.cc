// OPT: learned positions that start at row 2, layer norms, ReLU.
#include <cmath>

#include "lathe/io/gguf.h"
#include "lathe/model/families/config_reader.h"
#include "lathe/model/families/list.h"

namespace lathe {
namespace {

Result<ModelConfig> read_opt(const nlohmann::json& json) {
  ConfigReader reader(json);
  ModelConfig c;
  c.family = "opt";
  c.vocab = reader.integer("vocab_size");
  c.hidden = reader.integer("hidden_size");
  c.layers = reader.integer("num_hidden_layers");
  c.heads = c.kv_heads = reader.integer("num_attention_heads");
  if (c.heads > 0) c.head_size = c.hidden / c.heads;
  c.ffn = reader.integer("ffn_dim");
  c.max_positions = reader.integer("max_position_embeddings", 2048);
  c.norm = NormKind::kLayer;
  c.norm_eps = 1e-5;  // torch's default, which OPT uses without a key for it
  c.tied = reader.boolean("tie_word_embeddings", true);
  if (c.head_size > 0) c.attention_scale = 1.0 / std::sqrt(static_cast<double>(c.head_size));
  c.bos = reader.integer("bos_token_id", -1);
  c.eos = reader.integers("eos_token_id");
  c.gated = false;
  c.learned_positions = true;
  c.position_offset = 2;
  const bool bias = reader.boolean("enable_bias", true);
  c.qkv_bias = c.o_bias = c.mlp_bias = bias;
  if (const auto f = activation_from_name(reader.string("activation_function", "relu"))) {
    c.activation = *f;
  } else {
    reader.fail(f.error());
  }
  if (reader.integer("word_embed_proj_dim", c.hidden) != c.hidden) {
    reader.fail(unsupported(
        "'word_embed_proj_dim' other than the hidden size (OPT-350M) is not supported"));
  }
  if (!reader.boolean("do_layer_norm_before", true)) {
    reader.fail(unsupported("'do_layer_norm_before' = false (OPT-350M) is not supported"));
  }
  if (reader.boolean("_remove_final_layer_norm", false)) {
    reader.fail(unsupported("'_remove_final_layer_norm' is not supported"));
  }
  return finish(reader, std::move(c));
}

Status gguf_opt(const GgufFile&, ModelConfig&) {
  return unsupported("OPT models do not come as GGUF");
}

}  // namespace

Family opt_family() {
  return {"opt",
          {"opt"},
          {},
          read_opt,
          gguf_opt,
          {{"model.embed_tokens", "decoder.embed_tokens"},
           {"model.embed_positions", "decoder.embed_positions"},
           {"model.layers.{}.input_norm", "decoder.layers.{}.self_attn_layer_norm"},
           {"model.layers.{}.self_attn.q_proj", "decoder.layers.{}.self_attn.q_proj"},
           {"model.layers.{}.self_attn.k_proj", "decoder.layers.{}.self_attn.k_proj"},
           {"model.layers.{}.self_attn.v_proj", "decoder.layers.{}.self_attn.v_proj"},
           {"model.layers.{}.self_attn.o_proj", "decoder.layers.{}.self_attn.out_proj"},
           {"model.layers.{}.mlp_input_norm", "decoder.layers.{}.final_layer_norm"},
           {"model.layers.{}.mlp.up_proj", "decoder.layers.{}.fc1"},
           {"model.layers.{}.mlp.down_proj", "decoder.layers.{}.fc2"},
           {"model.norm", "decoder.final_layer_norm"}},
          {"model.", ""}};
}

}  // namespace lathe
