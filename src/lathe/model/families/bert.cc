// BERT: an encoder with learned positions, token types and norms after the residual sums (Devlin et
// al. 2019). Sentence encoders such as MiniLM are built like it.
#include <cmath>

#include "lathe/io/gguf.h"
#include "lathe/model/families/config_reader.h"
#include "lathe/model/families/list.h"

namespace lathe {
namespace {

Result<ModelConfig> read_bert(const nlohmann::json& json) {
  ConfigReader reader(json);
  ModelConfig c;
  c.family = "bert";
  c.encoder = true;
  c.vocab = reader.integer("vocab_size");
  c.hidden = reader.integer("hidden_size");
  c.layers = reader.integer("num_hidden_layers");
  c.heads = c.kv_heads = reader.integer("num_attention_heads");
  if (c.heads > 0) c.head_size = c.hidden / c.heads;
  c.ffn = reader.integer("intermediate_size");
  c.max_positions = reader.integer("max_position_embeddings", 512);
  c.token_types = reader.integer("type_vocab_size", 2);
  c.norm = NormKind::kLayer;
  c.norm_eps = reader.number("layer_norm_eps", 1e-12);
  if (c.head_size > 0) c.attention_scale = 1.0 / std::sqrt(static_cast<double>(c.head_size));
  c.gated = false;
  c.post_norm = c.embedding_norm = c.learned_positions = true;
  c.qkv_bias = c.o_bias = c.mlp_bias = true;
  if (const auto f = activation_from_name(reader.string("hidden_act", "gelu"))) {
    c.activation = *f;
  } else {
    reader.fail(f.error());
  }
  const std::string positions = reader.string("position_embedding_type", "absolute");
  if (positions != "absolute") {
    reader.fail(unsupported("'position_embedding_type' = '{}' is not supported", positions));
  }
  if (reader.boolean("is_decoder", false)) {
    reader.fail(unsupported("BERT as a decoder ('is_decoder') is not supported"));
  }
  if (c.heads > 0 && c.hidden % c.heads != 0) {
    reader.fail(bad_input("{} heads do not divide the hidden size {}", c.heads, c.hidden));
  }
  return finish(reader, std::move(c));
}

Status gguf_bert(const GgufFile&, ModelConfig&) {
  return unsupported("encoders are not read from GGUF")
      .with_hint("give the directory with config.json and model.safetensors");
}

}  // namespace

Family bert_family() {
  return {"bert",
          {"bert"},
          {"bert"},
          read_bert,
          gguf_bert,
          {{"model.embed_tokens", "embeddings.word_embeddings"},
           {"model.embed_positions", "embeddings.position_embeddings"},
           {"model.embed_token_types", "embeddings.token_type_embeddings"},
           {"model.embed_norm", "embeddings.LayerNorm"},
           {"model.layers.{}.self_attn.q_proj", "encoder.layer.{}.attention.self.query"},
           {"model.layers.{}.self_attn.k_proj", "encoder.layer.{}.attention.self.key"},
           {"model.layers.{}.self_attn.v_proj", "encoder.layer.{}.attention.self.value"},
           {"model.layers.{}.self_attn.o_proj", "encoder.layer.{}.attention.output.dense"},
           {"model.layers.{}.attention_output_norm", "encoder.layer.{}.attention.output.LayerNorm"},
           {"model.layers.{}.mlp.up_proj", "encoder.layer.{}.intermediate.dense"},
           {"model.layers.{}.mlp.down_proj", "encoder.layer.{}.output.dense"},
           {"model.layers.{}.mlp_output_norm", "encoder.layer.{}.output.LayerNorm"}},
          {"", "bert."}};
}

}  // namespace lathe
