#include "lathe/base/measurement.h"

#include <algorithm>
#include <array>
#include <limits>
#include <string_view>

#include "lathe/base/parse_json.h"

namespace lathe {
namespace {

template <typename T>
void put(nlohmann::json& j, const char* key, const std::optional<T>& value) {
  if (value) j[key] = *value;
}

template <typename T>
std::optional<T> get(const nlohmann::json& j, const char* key) {
  const auto it = j.find(key);
  if (it == j.end() || it->is_null()) return std::nullopt;
  return it->get<T>();
}

// The members of Measurement by type; what else an object holds is its `extra`.
constexpr std::array kTexts = {"variant", "format", "task",    "metric",
                               "unit",    "better", "verdict", "test"};
constexpr std::array kNumbers = {"value",     "low",        "high",    "baseline_delta",
                                 "delta_low", "delta_high", "p_value", "p_holm"};
constexpr std::array kCounts = {"n", "decisive_n", "gained", "lost"};

template <size_t N>
bool among(const std::array<const char*, N>& keys, std::string_view key) {
  return std::ranges::any_of(keys, [&](const char* k) { return key == k; });
}

std::string text_of(const nlohmann::json& j, const char* key) { return member_or(j, key, ""); }

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

Result<Measurement> measurement_from_json(const nlohmann::json& j) {
  if (!j.is_object()) return bad_input("a result must be an object");
  for (const auto& [key, value] : j.items()) {
    if ((among(kTexts, key) || key == "convention") && !value.is_string()) {
      return bad_input("result: '{}' is no text", key);
    }
    if (value.is_null()) continue;
    if (among(kNumbers, key) && !value.is_number()) {
      return bad_input("result: '{}' is no number", key);
    }
    if (among(kCounts, key) && !value.is_number_integer()) {
      return bad_input("result: '{}' is no whole number", key);
    }
  }
  for (const char* key : {"task", "metric", "value"}) {
    if (!j.contains(key)) return bad_input("result: '{}' is missing", key);
  }
  Measurement m;
  m.variant = text_of(j, "variant");
  m.format = text_of(j, "format");
  m.task = text_of(j, "task");
  m.metric = text_of(j, "metric");
  // JSON has no infinities and writes null for what is not finite.
  m.value = get<double>(j, "value").value_or(std::numeric_limits<double>::quiet_NaN());
  m.low = get<double>(j, "low");
  m.high = get<double>(j, "high");
  m.n = get<int64_t>(j, "n").value_or(0);
  m.unit = text_of(j, "unit");
  m.better = text_of(j, "better");
  m.baseline_delta = get<double>(j, "baseline_delta");
  m.delta_low = get<double>(j, "delta_low");
  m.delta_high = get<double>(j, "delta_high");
  m.verdict = text_of(j, "verdict");
  m.test = text_of(j, "test");
  m.p_value = get<double>(j, "p_value");
  m.p_holm = get<double>(j, "p_holm");
  m.decisive_n = get<int64_t>(j, "decisive_n");
  m.gained = get<int64_t>(j, "gained");
  m.lost = get<int64_t>(j, "lost");
  for (const auto& [key, value] : j.items()) {
    if (!among(kTexts, key) && !among(kNumbers, key) && !among(kCounts, key)) m.extra[key] = value;
  }
  return m;
}

}  // namespace lathe
