#include "lathe/model/config.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>

namespace lathe {

NLOHMANN_JSON_SERIALIZE_ENUM(RopeScaling, {{RopeScaling::kNone, "none"},
                                           {RopeScaling::kLinear, "linear"},
                                           {RopeScaling::kDynamic, "dynamic"},
                                           {RopeScaling::kLlama3, "llama3"},
                                           {RopeScaling::kYarn, "yarn"},
                                           {RopeScaling::kLongRope, "longrope"},
                                           {RopeScaling::kFactors, "factors"}})
NLOHMANN_JSON_SERIALIZE_ENUM(NormKind, {{NormKind::kRms, "rms"}, {NormKind::kLayer, "layer"}})
NLOHMANN_JSON_SERIALIZE_ENUM(Activation, {{Activation::kSilu, "silu"},
                                          {Activation::kGeluErf, "gelu_erf"},
                                          {Activation::kGeluTanh, "gelu_tanh"},
                                          {Activation::kRelu, "relu"}})
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(RopeConfig, theta, rotary, scaling, factor, original_context,
                                   low_freq_factor, high_freq_factor, beta_fast, beta_slow,
                                   truncate, attention_factor, mscale, mscale_all_dim, short_factor,
                                   long_factor)

namespace {

constexpr std::array<std::string_view, 4> kLater = {"encoder", "post_norm", "embedding_norm",
                                                    "token_types"};

// One list of the fields for both directions.
template <typename Config, typename Visit>
void each_field(Config& c, Visit&& visit) {
  visit("family", c.family);
  visit("vocab", c.vocab);
  visit("hidden", c.hidden);
  visit("layers", c.layers);
  visit("heads", c.heads);
  visit("kv_heads", c.kv_heads);
  visit("head_size", c.head_size);
  visit("ffn", c.ffn);
  visit("max_positions", c.max_positions);
  visit("encoder", c.encoder);
  visit("norm", c.norm);
  visit("norm_eps", c.norm_eps);
  visit("output_norms", c.output_norms);
  visit("post_norm", c.post_norm);
  visit("embedding_norm", c.embedding_norm);
  visit("qk_norm", c.qk_norm);
  visit("parallel_residual", c.parallel_residual);
  visit("activation", c.activation);
  visit("gated", c.gated);
  visit("qkv_bias", c.qkv_bias);
  visit("o_bias", c.o_bias);
  visit("mlp_bias", c.mlp_bias);
  visit("head_bias", c.head_bias);
  visit("learned_positions", c.learned_positions);
  visit("position_offset", c.position_offset);
  visit("token_types", c.token_types);
  visit("rope", c.rope);
  visit("local_rope", c.local_rope);
  visit("two_ropes", c.two_ropes);
  visit("attention_scale", c.attention_scale);
  visit("attention_soft_cap", c.attention_soft_cap);
  visit("final_soft_cap", c.final_soft_cap);
  visit("embedding_scale", c.embedding_scale);
  visit("window", c.window);
  visit("sliding", c.sliding);
  visit("tied", c.tied);
  visit("bos", c.bos);
  visit("eos", c.eos);
}

Status in_range(const char* what, int64_t value, int64_t low, int64_t high) {
  if (value >= low && value <= high) return {};
  return bad_input("{} is {}, expected {} to {}", what, value, low, high);
}

Status validate_rope(const RopeConfig& rope, int64_t head_size) {
  LATHE_OK(in_range("rotary size", rope.rotary, 0, head_size));
  if (rope.rotary % 2 != 0) return bad_input("rotary size {} is odd", rope.rotary);
  if (!(rope.theta > 0) || !std::isfinite(rope.theta))
    return bad_input("rope theta is {}", rope.theta);
  if (!(rope.factor > 0) || !std::isfinite(rope.factor)) {
    return bad_input("rope scaling factor is {}", rope.factor);
  }
  const bool listed =
      rope.scaling == RopeScaling::kLongRope || rope.scaling == RopeScaling::kFactors;
  for (const auto* list : {&rope.short_factor, &rope.long_factor}) {
    if (rope.scaling == RopeScaling::kFactors && list == &rope.long_factor) continue;
    if (listed && static_cast<int64_t>(list->size()) != rope.rotary / 2) {
      return bad_input("rope scaling has {} factors, expected {}", list->size(), rope.rotary / 2);
    }
    for (const float f : *list) {
      if (!(f > 0) || !std::isfinite(f)) return bad_input("a rope scaling factor is {}", f);
    }
  }
  const bool needs_original = rope.scaling == RopeScaling::kLlama3 ||
                              rope.scaling == RopeScaling::kYarn ||
                              rope.scaling == RopeScaling::kLongRope;
  if (needs_original) LATHE_OK(in_range("original context", rope.original_context, 2, 1 << 30));
  return {};
}

}  // namespace

Status validate(const ModelConfig& c) {
  LATHE_OK(in_range("vocabulary size", c.vocab, 1, 1 << 24));
  LATHE_OK(in_range("hidden size", c.hidden, 1, 1 << 18));
  LATHE_OK(in_range("number of layers", c.layers, 1, 4096));
  LATHE_OK(in_range("number of heads", c.heads, 1, 4096));
  LATHE_OK(in_range("number of key/value heads", c.kv_heads, 1, c.heads));
  LATHE_OK(in_range("head size", c.head_size, 1, 4096));
  LATHE_OK(in_range("feed-forward size", c.ffn, 1, 1 << 20));
  LATHE_OK(in_range("maximum position", c.max_positions, 1, 1 << 28));
  LATHE_OK(in_range("position offset", c.position_offset, 0, 1024));
  LATHE_OK(in_range("number of token types", c.token_types, 0, 1 << 20));
  LATHE_OK(in_range("sliding window", c.window, 0, 1 << 28));
  if (c.encoder && c.window > 0) return bad_input("an encoder with a sliding window");
  if (c.post_norm && (c.output_norms || c.parallel_residual)) {
    return bad_input("norms after the residual sums together with others");
  }
  if (c.heads % c.kv_heads != 0) {
    return bad_input("{} heads cannot share {} key/value heads evenly", c.heads, c.kv_heads);
  }
  if (!c.sliding.empty() && static_cast<int64_t>(c.sliding.size()) != c.layers) {
    return bad_input("layer types are given for {} of {} layers", c.sliding.size(), c.layers);
  }
  for (const double v :
       {c.norm_eps, c.attention_scale, c.attention_soft_cap, c.final_soft_cap, c.embedding_scale}) {
    if (!std::isfinite(v) || v < 0) return bad_input("a scale, cap or epsilon is {}", v);
  }
  if (!(c.attention_scale > 0)) return bad_input("attention scale is {}", c.attention_scale);
  LATHE_OK(validate_rope(c.rope, c.head_size));
  if (c.two_ropes) LATHE_OK(validate_rope(c.local_rope, c.head_size));
  return {};
}

nlohmann::json to_json(const ModelConfig& config) {
  nlohmann::json j;
  each_field(config, [&](const char* name, const auto& field) { j[name] = field; });
  return j;
}

Result<ModelConfig> config_from_json(const nlohmann::json& j) {
  ModelConfig config;
  const char* at = "";
  try {
    each_field(config, [&](const char* name, auto& field) {
      at = name;
      // Files from before there were encoders have none of their keys.
      const bool later =
          std::find(kLater.begin(), kLater.end(), std::string_view(name)) != kLater.end();
      if (!later || j.contains(name)) j.at(name).get_to(field);
    });
  } catch (const nlohmann::json::exception&) {
    return bad_input("model configuration: '{}' is missing or not of its type", at);
  }
  LATHE_OK(validate(config));
  return config;
}

}  // namespace lathe
