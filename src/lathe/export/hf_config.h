// config.json of a Hugging Face directory, from a ModelConfig: for sources that have none (GGUF).
#pragma once

#include <nlohmann/json.hpp>

#include "lathe/model/config.h"
#include "lathe/model/family.h"

namespace lathe {

// The family's keys as transformers reads them. Refuses what the family's config.json has no word
// for.
Result<nlohmann::json> hf_config(const ModelConfig& config, const Family& family);

}  // namespace lathe
