#include "lathe/base/measurement.h"

namespace lathe {
namespace {

void put(nlohmann::json& j, const char* key, const std::optional<double>& value) {
  if (value) j[key] = *value;
}

std::optional<double> get(const nlohmann::json& j, const char* key) {
  const auto it = j.find(key);
  if (it == j.end() || it->is_null()) return std::nullopt;
  return it->get<double>();
}

}  // namespace

nlohmann::json to_json(const Measurement& m) {
  nlohmann::json j = m.extra;
  j["variant"] = m.variant;
  j["format"] = m.format;
  j["task"] = m.task;
  j["metric"] = m.metric;
  j["value"] = m.value;
  put(j, "low", m.low);
  put(j, "high", m.high);
  j["n"] = m.n;
  j["unit"] = m.unit;
  j["better"] = m.better;
  put(j, "baseline_delta", m.baseline_delta);
  put(j, "delta_low", m.delta_low);
  put(j, "delta_high", m.delta_high);
  if (!m.verdict.empty()) j["verdict"] = m.verdict;
  return j;
}

Measurement measurement_from_json(const nlohmann::json& j) {
  Measurement m;
  m.variant = j.value("variant", "");
  m.format = j.value("format", "");
  m.task = j.at("task").get<std::string>();
  m.metric = j.at("metric").get<std::string>();
  m.value = j.at("value").get<double>();
  m.low = get(j, "low");
  m.high = get(j, "high");
  m.n = j.value("n", int64_t{0});
  m.unit = j.value("unit", "");
  m.better = j.value("better", "");
  m.baseline_delta = get(j, "baseline_delta");
  m.delta_low = get(j, "delta_low");
  m.delta_high = get(j, "delta_high");
  m.verdict = j.value("verdict", "");
  for (const auto& [key, value] : j.items()) {
    if (key == "convention" || key == "window" || key == "stride") m.extra[key] = value;
  }
  return m;
}

}  // namespace lathe
