#include "lathe/model/gguf_config.h"

#include <cmath>
#include <cstring>

#include "lathe/model/family.h"

namespace lathe {
namespace {

// Reads "<architecture>.<key>".
class Metadata {
 public:
  Metadata(const GgufFile& gguf, std::string architecture)
      : gguf_(gguf), prefix_(std::move(architecture) + ".") {}

  Result<int64_t> integer(const std::string& key) const {
    if (const auto value = gguf_.integer(prefix_ + key)) return *value;
    return bad_input("metadata key '{}{}' is missing or not a whole number", prefix_, key);
  }
  int64_t integer(const std::string& key, int64_t otherwise) const {
    return gguf_.integer(prefix_ + key).value_or(otherwise);
  }
  double number(const std::string& key, double otherwise) const {
    return gguf_.number(prefix_ + key).value_or(otherwise);
  }
  std::string string(const std::string& key) const {
    return gguf_.string(prefix_ + key).value_or("");
  }
  // A number, or a list that holds the same number for every layer.
  Result<int64_t> uniform(const std::string& key, int64_t otherwise) const {
    const GgufArray* list = gguf_.array(prefix_ + key);
    if (!list) return integer(key, otherwise);
    if (list->integers.empty())
      return bad_input("metadata key '{}{}' is an empty list", prefix_, key);
    for (const int64_t value : list->integers) {
      if (value != list->integers[0]) {
        return unsupported("metadata key '{}{}' differs between layers", prefix_, key);
      }
    }
    return list->integers[0];
  }

 private:
  const GgufFile& gguf_;
  std::string prefix_;
};

Result<std::vector<float>> read_factors(const GgufFile& gguf, const char* name, int64_t count) {
  std::vector<float> out;
  const GgufTensor* tensor = gguf.find(name);
  if (!tensor) return out;
  constexpr uint32_t kF32 = 0;
  if (tensor->type != kF32 || static_cast<int64_t>(tensor->bytes.size()) != count * 4) {
    return bad_input("tensor '{}' must hold {} F32 numbers", name, count);
  }
  out.resize(static_cast<size_t>(count));
  std::memcpy(out.data(), tensor->bytes.data(), tensor->bytes.size());
  return out;
}

Status read_rope(const GgufFile& gguf, const Metadata& meta, ModelConfig& c) {
  RopeConfig& rope = c.rope;
  LATHE_TRY(rope.rotary, meta.uniform("rope.dimension_count", c.head_size));
  rope.theta = meta.number("rope.freq_base", 10000.0);
  rope.original_context = meta.integer("rope.scaling.original_context_length", c.max_positions);
  const std::string kind = meta.string("rope.scaling.type");
  if (kind == "linear" || kind == "yarn") {
    rope.scaling = kind == "linear" ? RopeScaling::kLinear : RopeScaling::kYarn;
    rope.factor = meta.number("rope.scaling.factor", 1.0);
  } else if (!kind.empty() && kind != "none" && kind != "longrope") {
    return unsupported("rope scaling '{}' is not supported", kind);
  }
  LATHE_TRY(auto factors, read_factors(gguf, "rope_freqs.weight", rope.rotary / 2));
  if (!factors.empty()) {
    rope.scaling = RopeScaling::kFactors;
    rope.short_factor = std::move(factors);
  }
  LATHE_TRY(rope.long_factor, read_factors(gguf, "rope_factors_long.weight", rope.rotary / 2));
  if (!rope.long_factor.empty()) {
    LATHE_TRY(rope.short_factor, read_factors(gguf, "rope_factors_short.weight", rope.rotary / 2));
    rope.scaling = RopeScaling::kLongRope;
    rope.attention_factor = meta.number("rope.scaling.attn_factor", 0.0);
  }
  return {};
}

}  // namespace

Result<ModelConfig> config_from_gguf(const GgufFile& gguf) {
  const auto architecture = gguf.string("general.architecture");
  if (!architecture) return bad_input("metadata key 'general.architecture' is missing");
  LATHE_TRY(const Family* family, family_of_gguf(*architecture));
  const Metadata meta(gguf, *architecture);
  ModelConfig c;
  c.family = family->name;
  LATHE_TRY(c.hidden, meta.integer("embedding_length"));
  LATHE_TRY(c.layers, meta.integer("block_count"));
  LATHE_TRY(c.ffn, meta.uniform("feed_forward_length", 0));
  LATHE_TRY(c.heads, meta.uniform("attention.head_count", 0));
  LATHE_TRY(c.kv_heads, meta.uniform("attention.head_count_kv", c.heads));
  if (c.heads < 1)
    return bad_input("metadata key '{}.attention.head_count' is missing", *architecture);
  c.head_size = meta.integer("attention.key_length", c.hidden / c.heads);
  if (meta.integer("attention.value_length", c.head_size) != c.head_size) {
    return unsupported("keys and values of different sizes");
  }
  c.max_positions = meta.integer("context_length", 2048);
  c.norm_eps = meta.number("attention.layer_norm_rms_epsilon",
                           meta.number("attention.layer_norm_epsilon", 1e-5));
  if (c.head_size > 0) c.attention_scale = 1.0 / std::sqrt(static_cast<double>(c.head_size));
  const GgufTensor* table = gguf.find("token_embd.weight");
  if (!table || table->shape.size() != 2) return not_found("tensor 'token_embd.weight' is missing");
  c.vocab = table->shape[0];
  c.tied = gguf.find("output.weight") == nullptr;
  // Biases are optional in the file and known by their presence.
  c.qkv_bias = gguf.find("blk.0.attn_q.bias") != nullptr;
  c.o_bias = gguf.find("blk.0.attn_output.bias") != nullptr;
  c.mlp_bias = gguf.find("blk.0.ffn_up.bias") != nullptr;
  c.bos = gguf.integer("tokenizer.ggml.bos_token_id").value_or(-1);
  for (const char* key : {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"}) {
    if (const auto id = gguf.integer(key)) c.eos.push_back(*id);
  }
  LATHE_OK(read_rope(gguf, meta, c));
  LATHE_OK(family->from_gguf(gguf, c));
  LATHE_OK(validate(c));
  return c;
}

}  // namespace lathe
