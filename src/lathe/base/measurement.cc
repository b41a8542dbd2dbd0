#include "lathe/base/measurement.h"

#include <set>

namespace lathe {
namespace {

template <typename T>
void put(nlohmann::json& j, const char* key, const std::optional<T>& value) {
  if (value) j[key] = *value;
}

template <typename T>
void get(const nlohmann::json& j, const char* key, std::optional<T>& value) {
  const auto it = j.find(key);
  if (it != j.end() && !it->is_null()) value = it->get<T>();
}

// All keys that are members of Measurement; the rest is its `extra`.
bool is_member(const std::string& key) {
  static const std::set<std::string> members = {
      "variant", "format",  "task",   "metric",         "value",     "low",        "high",
      "n",       "unit",    "better", "baseline_delta", "delta_low", "delta_high", "verdict",
      "test",    "p_value", "p_holm", "decisive_n",     "gained",    "lost"};
  return members.count(key) > 0;
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
  if (!m.test.empty()) j["test"] = m.test;
  put(j, "p_value", m.p_value);
  put(j, "p_holm", m.p_holm);
  put(j, "decisive_n", m.decisive_n);
  put(j, "gained", m.gained);
  put(j, "lost", m.lost);
  return j;
}

Measurement measurement_from_json(const nlohmann::json& j) {
  Measurement m;
  m.variant = j.value("variant", "");
  m.format = j.value("format", "");
  m.task = j.at("task").get<std::string>();
  m.metric = j.at("metric").get<std::string>();
  m.value = j.at("value").get<double>();
  get(j, "low", m.low);
  get(j, "high", m.high);
  m.n = j.value("n", int64_t{0});
  m.unit = j.value("unit", "");
  m.better = j.value("better", "");
  get(j, "baseline_delta", m.baseline_delta);
  get(j, "delta_low", m.delta_low);
  get(j, "delta_high", m.delta_high);
  m.verdict = j.value("verdict", "");
  m.test = j.value("test", "");
  get(j, "p_value", m.p_value);
  get(j, "p_holm", m.p_holm);
  get(j, "decisive_n", m.decisive_n);
  get(j, "gained", m.gained);
  get(j, "lost", m.lost);
  for (const auto& [key, value] : j.items()) {
    if (!is_member(key)) m.extra[key] = value;
  }
  return m;
}

}  // namespace lathe
