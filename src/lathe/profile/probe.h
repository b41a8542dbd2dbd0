// Probe: something measured while a model runs. Prefill and decode are timed apart, directly;
// values are medians over repetitions after a warm-up, `low` and `high` the smallest and largest
// repetition.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "lathe/base/measurement.h"
#include "lathe/generate/engine.h"

namespace lathe {

struct ProbeContext {
  const Engine& engine;
  const Checkpoint& checkpoint;
};

struct ProbeKind {
  std::string name;
  std::string description;
  nlohmann::json defaults;
  Result<std::vector<Measurement>> (*run)(const ProbeContext& context,
                                          const nlohmann::json& parameters);
};

// In the order they should run: memory after what uses the model, so that it sees the peak of that;
// then roofline, which needs memory of its own to measure the machine.
const std::vector<ProbeKind>& probe_kinds();
// Checks parameter names and types; gives them with the defaults filled in.
Result<nlohmann::json> probe_parameters(const std::string& name, const nlohmann::json& parameters);
Result<std::vector<Measurement>> run_probe(const std::string& name, const ProbeContext& context,
                                           const nlohmann::json& parameters);

}  // namespace lathe
