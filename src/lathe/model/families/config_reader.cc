#include "lathe/model/families/config_reader.h"

#include <cmath>

namespace lathe {

const nlohmann::json* ConfigReader::find(const char* key) const {
  const auto it = json_.find(key);
  return it == json_.end() || it->is_null() ? nullptr : &*it;
}

bool ConfigReader::has(const char* key) const { return find(key) != nullptr; }

void ConfigReader::fail(Error error) {
  if (!error_) error_ = std::move(error);
}

int64_t ConfigReader::integer(const char* key) {
  const nlohmann::json* j = find(key);
  if (!j) {
    fail(bad_input("'{}' is missing", key));
    return 0;
  }
  return integer(key, 0);
}

int64_t ConfigReader::integer(const char* key, int64_t otherwise) {
  const nlohmann::json* j = find(key);
  if (!j) return otherwise;
  if (j->is_number_integer()) return j->get<int64_t>();
  if (j->is_number_float() && std::floor(j->get<double>()) == j->get<double>() &&
      std::fabs(j->get<double>()) < 1e15) {
    return static_cast<int64_t>(j->get<double>());
  }
  fail(bad_input("'{}' must be a whole number, found {}", key, j->dump()));
  return otherwise;
}

double ConfigReader::number(const char* key, double otherwise) {
  const nlohmann::json* j = find(key);
  if (!j) return otherwise;
  if (j->is_number()) return j->get<double>();
  fail(bad_input("'{}' must be a number, found {}", key, j->dump()));
  return otherwise;
}

bool ConfigReader::boolean(const char* key, bool otherwise) {
  const nlohmann::json* j = find(key);
  if (!j) return otherwise;
  if (j->is_boolean()) return j->get<bool>();
  fail(bad_input("'{}' must be true or false, found {}", key, j->dump()));
  return otherwise;
}

std::string ConfigReader::string(const char* key, const std::string& otherwise) {
  const nlohmann::json* j = find(key);
  if (!j) return otherwise;
  if (j->is_string()) return j->get<std::string>();
  fail(bad_input("'{}' must be a string, found {}", key, j->dump()));
  return otherwise;
}

std::vector<int64_t> ConfigReader::integers(const char* key) {
  const nlohmann::json* j = find(key);
  if (!j) return {};
  if (j->is_number_integer()) return {j->get<int64_t>()};
  std::vector<int64_t> out;
  if (j->is_array()) {
    for (const auto& item : *j) {
      if (item.is_number_integer()) out.push_back(item.get<int64_t>());
    }
    if (out.size() == j->size()) return out;
  }
  fail(bad_input("'{}' must be a whole number or a list of them", key));
  return {};
}

std::vector<float> ConfigReader::floats(const char* key) {
  const nlohmann::json* j = find(key);
  std::vector<float> out;
  if (!j) return out;
  if (j->is_array()) {
    for (const auto& item : *j) {
      if (item.is_number()) out.push_back(item.get<float>());
    }
  }
  if (!j->is_array() || out.size() != j->size())
    fail(bad_input("'{}' must be a list of numbers", key));
  return out;
}

std::vector<std::string> ConfigReader::strings(const char* key) {
  const nlohmann::json* j = find(key);
  std::vector<std::string> out;
  if (!j) return out;
  if (j->is_array()) {
    for (const auto& item : *j) {
      if (item.is_string()) out.push_back(item.get<std::string>());
    }
  }
  if (!j->is_array() || out.size() != j->size())
    fail(bad_input("'{}' must be a list of strings", key));
  return out;
}

const nlohmann::json* ConfigReader::object(const char* key) {
  const nlohmann::json* j = find(key);
  if (!j) return nullptr;
  if (j->is_object()) return j;
  fail(bad_input("'{}' must be an object, found {}", key, j->dump()));
  return nullptr;
}

Result<Activation> activation_from_name(const std::string& name) {
  if (name == "silu" || name == "swish") return Activation::kSilu;
  if (name == "gelu") return Activation::kGeluErf;
  if (name == "gelu_new" || name == "gelu_pytorch_tanh" || name == "gelu_fast") {
    return Activation::kGeluTanh;
  }
  if (name == "relu") return Activation::kRelu;
  return unsupported("activation '{}' is not supported", name)
      .with_hint("known: silu, gelu, gelu_new, gelu_pytorch_tanh, relu");
}

RopeConfig read_rope(ConfigReader& reader, int64_t rotary, double theta_by_default,
                     const char* nested) {
  RopeConfig rope;
  rope.rotary = rotary;
  rope.theta = reader.number("rope_theta", theta_by_default);
  const nlohmann::json* parameters = reader.object("rope_parameters");
  if (parameters && nested) {
    const auto it = parameters->find(nested);
    parameters = it != parameters->end() && it->is_object() ? &*it : nullptr;
  }
  if (!parameters) parameters = reader.object("rope_scaling");
  if (!parameters) return rope;

  ConfigReader inner(*parameters);
  rope.theta = inner.number("rope_theta", rope.theta);
  const std::string kind = inner.string("rope_type", inner.string("type", "default"));
  rope.factor = inner.number("factor", 1.0);
  rope.attention_factor = inner.number("attention_factor", 0.0);
  rope.original_context =
      inner.integer("original_max_position_embeddings",
                    reader.integer("original_max_position_embeddings",
                                   reader.integer("max_position_embeddings", 2048)));
  if (kind == "linear") {
    rope.scaling = RopeScaling::kLinear;
  } else if (kind == "dynamic") {
    rope.scaling = RopeScaling::kDynamic;
  } else if (kind == "llama3") {
    rope.scaling = RopeScaling::kLlama3;
    rope.low_freq_factor = inner.number("low_freq_factor", 1.0);
    rope.high_freq_factor = inner.number("high_freq_factor", 4.0);
  } else if (kind == "yarn") {
    rope.scaling = RopeScaling::kYarn;
    rope.beta_fast = inner.number("beta_fast", 32.0);
    rope.beta_slow = inner.number("beta_slow", 1.0);
    rope.truncate = inner.boolean("truncate", true);
    rope.mscale = inner.number("mscale", 0.0);
    rope.mscale_all_dim = inner.number("mscale_all_dim", 0.0);
  } else if (kind == "longrope" || kind == "su") {
    rope.scaling = RopeScaling::kLongRope;
    rope.short_factor = inner.floats("short_factor");
    rope.long_factor = inner.floats("long_factor");
  } else if (kind != "default") {
    reader.fail(unsupported("rope scaling '{}' is not supported", kind)
                    .with_hint("known: default, linear, dynamic, llama3, yarn, longrope"));
  }
  if (const Status status = inner.status(); !status.ok()) {
    reader.fail(Error(status.error()).in("rope scaling"));
  }
  return rope;
}

ModelConfig read_common(ConfigReader& reader, bool tied_by_default, int64_t head_size) {
  ModelConfig c;
  c.family = reader.string("model_type", "");
  c.vocab = reader.integer("vocab_size");
  c.hidden = reader.integer("hidden_size");
  c.layers = reader.integer("num_hidden_layers");
  c.heads = reader.integer("num_attention_heads");
  c.kv_heads = reader.integer("num_key_value_heads", c.heads);
  if (head_size == 0 && c.heads > 0) head_size = c.hidden / c.heads;
  c.head_size = reader.integer("head_dim", head_size);
  c.ffn = reader.integer("intermediate_size");
  c.max_positions = reader.integer("max_position_embeddings", 2048);
  c.norm_eps = reader.number("rms_norm_eps", 1e-6);
  c.tied = reader.boolean("tie_word_embeddings", tied_by_default);
  c.attention_scale = c.head_size > 0 ? 1.0 / std::sqrt(static_cast<double>(c.head_size)) : 0.0;
  c.bos = reader.integer("bos_token_id", -1);
  c.eos = reader.integers("eos_token_id");
  if (const auto activation = activation_from_name(reader.string("hidden_act", "silu"))) {
    c.activation = *activation;
  } else {
    reader.fail(activation.error());
  }
  c.rope = read_rope(reader, c.head_size, 10000.0);
  return c;
}

Result<ModelConfig> finish(const ConfigReader& reader, ModelConfig config) {
  LATHE_OK(reader.status());
  LATHE_OK(validate(config));
  return config;
}

}  // namespace lathe
