// YAML as JSON, for recipes, tasks and experiments.
//
// YAML 1.2 core schema: plain scalars become null, booleans, integers and floats where they look
// like one; quoted scalars and those tagged !!str stay strings. One document. Keys are scalars and
// come once. Aliases are copied, within limits on depth and on the number of values that no hostile
// file gets past; other tags and merge keys are refused.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "lathe/base/result.h"

namespace lathe {

// `where` names the text in errors, which give line and column: "x.yaml:3:7: …".
Result<nlohmann::json> yaml_to_json(std::string_view text, std::string_view where);
// The same with the keys of maps in the order of the file.
Result<nlohmann::ordered_json> yaml_to_ordered_json(std::string_view text, std::string_view where);

}  // namespace lathe
