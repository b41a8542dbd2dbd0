// Reads config.json with errors that name the key. The first error is kept and returned by
// status().
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "lathe/model/config.h"

namespace lathe {

class ConfigReader {
 public:
  explicit ConfigReader(const nlohmann::json& json) : json_(json) {}

  int64_t integer(const char* key);                     // required
  int64_t integer(const char* key, int64_t otherwise);  // absent or null: otherwise
  double number(const char* key, double otherwise);
  bool boolean(const char* key, bool otherwise);
  std::string string(const char* key, const std::string& otherwise);
  std::vector<int64_t> integers(const char* key);  // a number or a list; absent: empty
  std::vector<float> floats(const char* key);
  std::vector<std::string> strings(const char* key);
  const nlohmann::json* object(const char* key);  // nullptr when absent or null
  bool has(const char* key) const;

  void fail(Error error);
  Status status() const { return error_ ? Status(*error_) : Status(); }

 private:
  const nlohmann::json* find(const char* key) const;
  const nlohmann::json& json_;
  std::optional<Error> error_;
};

// What nearly all Hugging Face configurations share: sizes, norm, activation, rope, ids, tying.
// `head_size`: where the file has no head_dim; 0 means hidden / heads.
ModelConfig read_common(ConfigReader& reader, bool tied_by_default, int64_t head_size = 0);

// "rope_parameters" (new spelling), or rope_theta + rope_scaling (old). `nested`: the key inside
// rope_parameters that holds this rope ("full_attention", "sliding_attention"), or nullptr.
RopeConfig read_rope(ConfigReader& reader, int64_t rotary, double theta_by_default,
                     const char* nested = nullptr);

Result<Activation> activation_from_name(const std::string& name);

// "layer_types" if given; else what `pattern` says of each layer.
template <typename Pattern>
std::vector<bool> read_sliding(ConfigReader& reader, int64_t layers, Pattern pattern) {
  std::vector<bool> sliding;
  const std::vector<std::string> types = reader.strings("layer_types");
  for (int64_t i = 0; i < std::min<int64_t>(layers, 4096); ++i) {
    if (types.empty()) {
      sliding.push_back(pattern(i));
    } else if (static_cast<size_t>(i) < types.size()) {
      sliding.push_back(types[static_cast<size_t>(i)] == "sliding_attention");
    }
  }
  return sliding;
}

// Ends a family's from_config: the reader's error, or the validated configuration.
Result<ModelConfig> finish(const ConfigReader& reader, ModelConfig config);

}  // namespace lathe
