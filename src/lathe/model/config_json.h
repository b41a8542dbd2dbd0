// Other sizes for a model's config.json, whatever its family calls them.
#pragma once

#include <nlohmann/json.hpp>

#include "lathe/model/config.h"

namespace lathe {

// `json` is a config.json that its family reads as `before`; the result is read as `after`, which
// differs in layers, heads, feed-forward size or the tying of the head only. Refuses what the
// family's config.json has no word for (GPT-2 and OPT: a head size other than hidden / heads).
Result<nlohmann::json> with_sizes(nlohmann::json json, const ModelConfig& before,
                                  const ModelConfig& after);

}  // namespace lathe
