// What happens to an experiment file before it is read: included files are merged below it, and
// grids become variants (docs/experiments.md).
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "lathe/base/result.h"

namespace lathe {

// Merges the files named under `include:` (relative to `folder`) below `document`: maps key by key,
// all else is replaced by the including file. `text` gets the included texts added as comments, so
// that a report shows everything. Cycles, and more than 8 levels, are errors.
Status merge_includes(nlohmann::ordered_json& document, const std::string& folder,
                      std::string& text);

// Replaces `grid:` by the variants it stands for, after those that are named.
Status expand_grids(nlohmann::ordered_json& document);

}  // namespace lathe
