// Experiment: models × variants × tasks × probes, from a YAML file (see docs/experiments.md).
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "lathe/backend/kv_cache.h"
#include "lathe/base/result.h"
#include "lathe/compress/recipe.h"
#include "lathe/track/tracker.h"

namespace lathe {

struct NamedParameters {
  std::string name;
  nlohmann::json parameters = nlohmann::json::object();
};

struct VariantSpec {
  std::string name;
  Recipe recipe;  // empty: the model as it is
  // The experiment's, with what the variant says otherwise. Parameters checked, defaults filled in.
  std::vector<NamedParameters> tasks, probes;
};

struct Experiment {
  std::string name, text;  // text: the file, for the report
  std::vector<std::string> models;
  std::string baseline;  // name of a variant
  std::vector<VariantSpec> variants;
  std::vector<NamedParameters> tasks, probes;  // what variants have that say nothing else
  std::vector<TrackTarget> track;
  std::optional<double> usd_per_hour, budget_usd;
  uint64_t seed = 0;
  int64_t context = 0;
  KvType kv = KvType::kF32;
};

// `where` names the text in errors; files that it includes are looked for beside it.
Result<Experiment> parse_experiment(const std::string& text, const std::string& where);
Result<Experiment> load_experiment(const std::string& path);
// The experiment of `lathe demo`.
const char* demo_experiment();

}  // namespace lathe
