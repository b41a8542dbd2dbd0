// The ceilings of a machine, measured once and kept beside the runs.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "lathe/backend/ceilings.h"

namespace lathe {

// `file` holds an entry for each machine and number of threads. One that is missing, or a file that
// cannot be read, is measured (about two seconds) and written where `may_measure`; otherwise null.
// To be called while nothing else of the sweep runs.
nlohmann::json machine_ceilings(const std::string& file, int threads, bool may_measure);

// nullopt for null, and for what is no entry of such a file.
std::optional<Ceilings> ceilings_from_json(const nlohmann::json& json);
nlohmann::json to_json(const Ceilings& ceilings);

}  // namespace lathe
