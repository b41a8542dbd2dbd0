// Family: how one family of checkpoints spells its configuration and names its tensors. Data for
// the loader; nothing after loading knows of it. Adding one: its file in families/ and a line in
// registry.cc.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "lathe/model/config.h"

namespace lathe {

class GgufFile;

// Where a canonical name lies in a Hugging Face checkpoint. "{}" stands for the layer number.
struct HfName {
  std::string canonical;
  std::string source;  // without ".weight" / ".bias"
  // Fused matrices: which of the parts, in order of rows (of columns, if transposed). -1: all of
  // it.
  int part = -1;
  bool transposed = false;  // stored as [K, N]
};

struct Family {
  std::string name;
  std::vector<std::string> model_types;         // config.json "model_type"
  std::vector<std::string> gguf_architectures;  // general.architecture
  Result<ModelConfig> (*from_config)(const nlohmann::json& config);
  // Corrects what differs from the metadata that all architectures share (see gguf_config.h).
  Status (*from_gguf)(const GgufFile& gguf, ModelConfig& config);
  std::vector<HfName> names;          // those that differ from the canonical name
  std::vector<std::string> prefixes;  // that may stand before a name in the file, tried in order
  bool norm_plus_one = false;         // stored norm weights are w, applied as 1 + w
};

const std::vector<Family>& families();
Result<const Family*> family_of_model_type(const std::string& model_type);
Result<const Family*> family_of_gguf(const std::string& architecture);

}  // namespace lathe
