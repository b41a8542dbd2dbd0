// Keys and their meaning: llama.cpp's src/llama-arch.cpp and the hyperparameter readers in
// src/models/.
#include "lathe/export/gguf_metadata.h"

#include <algorithm>
#include <cmath>

#include "lathe/model/family.h"
#include "lathe/model/rope.h"

namespace lathe {
namespace {

// Mistral's GGUF files carry Llama's name.
Result<std::string> architecture_of(const std::string& family) {
  if (family == "mistral") return std::string("llama");
  for (const Family& known : families()) {
    if (known.name == family && !known.gguf_architectures.empty()) {
      return known.gguf_architectures[0];
    }
  }
  return unsupported("a model of the family '{}' cannot be written as GGUF", family)
      .with_hint("llama.cpp has no architecture for it");
}

class Describer {
 public:
  Describer(const ModelConfig& source, std::string architecture)
      : c_(source), architecture_(std::move(architecture)) {}

  Result<GgufDescription> run(const std::string& name) {
    limit_context();
    set("general.architecture", std::string_view(architecture_));
    set("general.name", std::string_view(name));
    key("vocab_size", integer(c_.vocab));
    key("context_length", integer(c_.max_positions));
    key("embedding_length", integer(c_.hidden));
    key("block_count", integer(c_.layers));
    key("feed_forward_length", integer(c_.ffn));
    key("attention.head_count", integer(c_.heads));
    key("attention.head_count_kv", integer(c_.kv_heads));
    key("attention.key_length", integer(c_.head_size));
    key("attention.value_length", integer(c_.head_size));
    key(c_.norm == NormKind::kRms ? "attention.layer_norm_rms_epsilon"
                                  : "attention.layer_norm_epsilon",
        static_cast<float>(c_.norm_eps));
    LATHE_OK(set_rope());
    LATHE_OK(set_gemma());
    if (architecture_ == "phi3" && c_.window > 0) {
      key("attention.sliding_window", integer(c_.window));
    }
    GgufDescription out{architecture_, std::move(metadata_), c_, std::move(notes_)};
    return out;
  }

 private:
  static uint32_t integer(int64_t value) { return static_cast<uint32_t>(value); }
  template <typename T>
  void set(const char* name, T value) {
    metadata_.set(name, value);
  }
  template <typename T>
  void key(const char* name, T value) {
    metadata_.set(architecture_ + "." + name, value);
  }

  // Most architectures know no window. Up to its length the model computes the same without one.
  void limit_context() {
    const bool has_windows = architecture_ == "gemma2" || architecture_ == "gemma3";
    if (!has_windows && c_.window > 0 && c_.window < c_.max_positions) {
      c_.max_positions = c_.window;
      notes_.push_back(fmt::format(
          "context_length is {}, the sliding window: llama.cpp attends to everything in "
          "architecture {}, which is the same up to there",
          c_.window, architecture_));
    }
    if (has_windows || architecture_ == "phi3") return;
    c_.window = 0;
    c_.sliding.clear();
  }

  Status set_rope() {
    RopeConfig& rope = c_.rope;
    if (rope.rotary == 0) return {};
    key("rope.dimension_count", integer(rope.rotary));
    key("rope.freq_base", static_cast<float>(rope.theta));
    switch (rope.scaling) {
      case RopeScaling::kNone:
        break;
      case RopeScaling::kDynamic:
        rope.scaling = RopeScaling::kNone;
        notes_.push_back(
            "dynamic rope scaling is left out: it does nothing up to context_length, and GGUF has "
            "no name for it");
        break;
      case RopeScaling::kLinear:
      case RopeScaling::kYarn:
        key("rope.scaling.type", rope.scaling == RopeScaling::kLinear ? "linear" : "yarn");
        key("rope.scaling.factor", static_cast<float>(rope.factor));
        if (rope.scaling == RopeScaling::kYarn) {
          key("rope.scaling.original_context_length", integer(rope.original_context));
        }
        break;
      case RopeScaling::kLlama3: {
        // As divisors of the plain frequencies, in a tensor.
        RopeConfig plain = rope;
        plain.scaling = RopeScaling::kNone;
        const Rope scaled = make_rope(rope, c_.max_positions, c_.max_positions);
        const Rope unscaled = make_rope(plain, c_.max_positions, c_.max_positions);
        rope.short_factor.clear();
        for (size_t i = 0; i < scaled.inverse_frequency.size(); ++i) {
          rope.short_factor.push_back(unscaled.inverse_frequency[i] / scaled.inverse_frequency[i]);
        }
        rope.scaling = RopeScaling::kFactors;
        break;
      }
      case RopeScaling::kFactors:
        break;
      case RopeScaling::kLongRope:
        rope.attention_factor = make_rope(rope, c_.max_positions, c_.max_positions).scale;
        key("rope.scaling.original_context_length", integer(rope.original_context));
        key("rope.scaling.attn_factor", static_cast<float>(rope.attention_factor));
        break;
    }
    return {};
  }

  Status set_gemma() {
    if (architecture_ == "gemma2") {
      if (!(c_.attention_soft_cap > 0) || !(c_.final_soft_cap > 0)) {
        return unsupported("a gemma2 model without soft caps cannot be written as GGUF");
      }
      key("attn_logit_softcapping", static_cast<float>(c_.attention_soft_cap));
      key("final_logit_softcapping", static_cast<float>(c_.final_soft_cap));
      key("attention.sliding_window", integer(c_.window));
    }
    if (architecture_ == "gemma3") {
      if (c_.final_soft_cap > 0) {
        key("final_logit_softcapping", static_cast<float>(c_.final_soft_cap));
      }
      key("attention.sliding_window", integer(c_.window));
      const auto first_full = std::find(c_.sliding.begin(), c_.sliding.end(), false);
      key("attention.sliding_window_pattern", integer(first_full - c_.sliding.begin() + 1));
      key("rope.freq_base_swa", static_cast<float>(c_.local_rope.theta));
    }
    return {};
  }

  ModelConfig c_;
  std::string architecture_;
  GgufMetadata metadata_;
  std::vector<std::string> notes_;
};

// Only what takes part in the arithmetic.
RopeConfig relevant(const RopeConfig& rope) {
  RopeConfig out;
  out.rotary = rope.rotary;
  out.scaling = rope.scaling;
  if (rope.rotary == 0) return {};
  out.theta = rope.theta;
  switch (rope.scaling) {
    case RopeScaling::kNone:
      break;
    case RopeScaling::kLinear:
      out.factor = rope.factor;
      break;
    case RopeScaling::kFactors:
      out.short_factor = rope.short_factor;
      break;
    case RopeScaling::kLongRope:
      out.short_factor = rope.short_factor;
      out.long_factor = rope.long_factor;
      out.original_context = rope.original_context;
      out.attention_factor = rope.attention_factor;
      break;
    default:
      out = rope;
      out.short_factor.clear();
      out.long_factor.clear();
  }
  return out;
}

bool same(const nlohmann::json& a, const nlohmann::json& b) {
  if (a.is_number_float() || b.is_number_float()) {
    if (!a.is_number() || !b.is_number()) return false;
    const double x = a.get<double>(), y = b.get<double>();
    return std::fabs(x - y) <= 1e-6 * std::max(std::fabs(x), std::fabs(y));  // files hold f32
  }
  if (a.is_structured() && a.type() == b.type() && a.size() == b.size()) {
    for (auto x = a.begin(), y = b.begin(); x != a.end(); ++x, ++y) {
      if ((a.is_object() && x.key() != y.key()) || !same(*x, *y)) return false;
    }
    return true;
  }
  return a == b;
}

}  // namespace

Result<GgufDescription> describe_for_gguf(const ModelConfig& config, const std::string& name) {
  LATHE_TRY(std::string architecture, architecture_of(config.family));
  return Describer(config, std::move(architecture)).run(name);
}

Status check_description(const ModelConfig& expected, const ModelConfig& found) {
  const auto fields = [](ModelConfig c) {
    if (c.window == 0) c.sliding.clear();
    c.rope = relevant(c.rope);
    c.local_rope = c.two_ropes ? relevant(c.local_rope) : RopeConfig{};
    c.bos = -1;  // these belong to the tokenizer
    c.eos.clear();
    c.family.clear();
    return to_json(c);
  };
  const nlohmann::json a = fields(expected), b = fields(found);
  for (const auto& [name, value] : a.items()) {
    if (same(value, b[name])) continue;
    return unsupported("the target cannot say '{}' = {} of this model (a reader would find {})",
                       name, value.dump(), b[name].dump())
        .with_hint("nothing was written; another target may have a word for it");
  }
  return {};
}

}  // namespace lathe
