#include "lathe/export/hf_config.h"

#include <cmath>

namespace lathe {
namespace {

using Json = nlohmann::json;

Result<Json> rope_scaling(const RopeConfig& rope) {
  switch (rope.scaling) {
    case RopeScaling::kNone:
      return Json();
    case RopeScaling::kLinear:
      return Json{{"rope_type", "linear"}, {"factor", rope.factor}};
    case RopeScaling::kDynamic:
      return Json{{"rope_type", "dynamic"}, {"factor", rope.factor}};
    case RopeScaling::kLlama3:
      return Json{{"rope_type", "llama3"},
                  {"factor", rope.factor},
                  {"low_freq_factor", rope.low_freq_factor},
                  {"high_freq_factor", rope.high_freq_factor},
                  {"original_max_position_embeddings", rope.original_context}};
    case RopeScaling::kYarn:
      return Json{{"rope_type", "yarn"},
                  {"factor", rope.factor},
                  {"original_max_position_embeddings", rope.original_context}};
    case RopeScaling::kLongRope:
      return Json{{"rope_type", "longrope"},
                  {"short_factor", rope.short_factor},
                  {"long_factor", rope.long_factor},
                  {"attention_factor", rope.attention_factor},
                  {"original_max_position_embeddings", rope.original_context}};
    case RopeScaling::kFactors:
      break;
  }
  return unsupported("config.json has no word for rope factors given one by one")
      .with_hint("they come from a GGUF file of a Llama 3 model; export from its original");
}

const char* activation_name(Activation activation) {
  switch (activation) {
    case Activation::kSilu:
      return "silu";
    case Activation::kGeluErf:
      return "gelu";
    case Activation::kGeluTanh:
      return "gelu_pytorch_tanh";
    case Activation::kRelu:
      return "relu";
  }
  return "silu";
}

Json gpt2(const ModelConfig& c) {
  return {{"n_embd", c.hidden},
          {"n_layer", c.layers},
          {"n_head", c.heads},
          {"n_inner", c.ffn},
          {"n_positions", c.max_positions},
          {"layer_norm_epsilon", c.norm_eps},
          {"activation_function", "gelu_new"}};
}

const char* class_of(const std::string& family) {
  if (family == "llama") return "LlamaForCausalLM";
  if (family == "mistral") return "MistralForCausalLM";
  if (family == "qwen2") return "Qwen2ForCausalLM";
  if (family == "qwen3") return "Qwen3ForCausalLM";
  if (family == "phi") return "PhiForCausalLM";
  if (family == "phi3") return "Phi3ForCausalLM";
  if (family == "gemma") return "GemmaForCausalLM";
  if (family == "gemma2") return "Gemma2ForCausalLM";
  if (family == "gemma3") return "Gemma3ForCausalLM";
  if (family == "gpt2") return "GPT2LMHeadModel";
  return nullptr;
}

}  // namespace

Result<Json> hf_config(const ModelConfig& c, const Family& family) {
  const char* architecture = class_of(family.name);
  if (!architecture) {
    return unsupported("writing config.json for the family '{}' is not supported", family.name);
  }
  Json j;
  if (family.name == "gpt2") {
    j = gpt2(c);
  } else {
    j = {{"hidden_size", c.hidden},
         {"num_hidden_layers", c.layers},
         {"num_attention_heads", c.heads},
         {"num_key_value_heads", c.kv_heads},
         {"head_dim", c.head_size},
         {"intermediate_size", c.ffn},
         {"max_position_embeddings", c.max_positions},
         {"rms_norm_eps", c.norm_eps},
         {"hidden_act", activation_name(c.activation)},
         {"rope_theta", c.rope.theta}};
    LATHE_TRY(const Json scaling, rope_scaling(c.rope));
    if (!scaling.is_null()) j["rope_scaling"] = scaling;
  }
  const auto sliding = [&] {
    Json types = Json::array();
    for (int64_t i = 0; i < c.layers; ++i) {
      types.push_back(c.window_of(i) > 0 ? "sliding_attention" : "full_attention");
    }
    return types;
  };
  const std::string& name = family.name;
  if (name == "llama" || name == "qwen3") j["attention_bias"] = c.qkv_bias;
  if (name == "llama") j["mlp_bias"] = c.mlp_bias;
  if (name == "mistral" || name == "phi3") {
    j["sliding_window"] = c.window > 0 ? Json(c.window) : Json();
  }
  if (name == "phi") j["layer_norm_eps"] = c.norm_eps;
  if (name == "phi" || name == "phi3") {
    j["partial_rotary_factor"] =
        static_cast<double>(c.rope.rotary) / static_cast<double>(c.head_size);
  }
  if (name.starts_with("gemma")) {
    j["hidden_activation"] = activation_name(c.activation);
    if (name != "gemma") {
      j["query_pre_attn_scalar"] = 1.0 / (c.attention_scale * c.attention_scale);
      const double scalar = j["query_pre_attn_scalar"].get<double>();
      if (std::fabs(scalar - std::round(scalar)) < 1e-6 * scalar) {
        j["query_pre_attn_scalar"] = static_cast<int64_t>(std::llround(scalar));
      }
      j["sliding_window"] = c.window;
      j["layer_types"] = sliding();
      j["attn_logit_softcapping"] = c.attention_soft_cap > 0 ? Json(c.attention_soft_cap) : Json();
      j["final_logit_softcapping"] = c.final_soft_cap > 0 ? Json(c.final_soft_cap) : Json();
    }
    if (name == "gemma3") j["rope_local_base_freq"] = c.local_rope.theta;
  }
  if (name.starts_with("qwen") && c.window > 0) {
    j["use_sliding_window"] = true;
    j["sliding_window"] = c.window;
    j["layer_types"] = sliding();
  }
  j["architectures"] = {architecture};
  j["model_type"] = family.model_types[0];
  j["vocab_size"] = c.vocab;
  j["tie_word_embeddings"] = c.tied;
  if (c.bos >= 0) j["bos_token_id"] = c.bos;
  if (c.eos.size() == 1) j["eos_token_id"] = c.eos[0];
  if (c.eos.size() > 1) j["eos_token_id"] = c.eos;
  return j;
}

}  // namespace lathe
