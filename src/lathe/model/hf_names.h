// Layer numbers in names, for the reader and the writer of Hugging Face directories.
#pragma once

#include <string>

namespace lathe {

// "model.layers.12.mlp.up_proj" → "model.layers.{}.mlp.up_proj" and "12"; any other name as it is.
struct LayerPattern {
  std::string text, layer;
};
inline LayerPattern split_layer(const std::string& name) {
  static const std::string kLayers = "model.layers.";
  if (!name.starts_with(kLayers)) return {name, ""};
  const size_t end = name.find('.', kLayers.size());
  return {kLayers + "{}" + name.substr(end), name.substr(kLayers.size(), end - kLayers.size())};
}

// The other way round.
inline std::string with_layer(const std::string& pattern, const std::string& layer) {
  const size_t at = pattern.find("{}");
  return at == std::string::npos ? pattern : pattern.substr(0, at) + layer + pattern.substr(at + 2);
}

}  // namespace lathe
