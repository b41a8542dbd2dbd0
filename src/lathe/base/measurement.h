// One number of a result table: the tidy row that every --json output and run.json is made of.
// Metric names are listed in docs/metrics.md; "task" is the evaluation task, or the probe
// ("latency", "memory", "size", …) that gave the number.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "lathe/base/result.h"

namespace lathe {

struct Measurement {
  std::string variant;  // name in the experiment; empty outside of a sweep
  std::string format;   // format spec of the linear layers, "mixed" if they differ
  std::string task;
  std::string metric;
  double value = 0;
  std::optional<double> low, high;  // 95 % interval
  int64_t n = 0;                    // samples, tokens or repetitions behind the value
  std::string unit;                 // "%", "ms", "tok/s", "bytes", …
  std::string better;               // "higher", "lower" or "" where neither is better
  std::optional<double> baseline_delta, delta_low, delta_high;
  std::string verdict;  // "=", "better", "worse", "undecided"; empty without a baseline
  // How the verdict came about: the test ("mcnemar", "paired-bootstrap"), its p-value, the p-value
  // corrected for all comparisons of a table, and the number of samples that would decide a
  // difference of this size in four cases of five.
  std::string test;
  std::optional<double> p_value, p_holm;
  std::optional<int64_t> decisive_n;
  // Right-or-wrong metrics: the samples that only this variant, or only the baseline, gets right.
  std::optional<int64_t> gained, lost;
  nlohmann::json extra = nlohmann::json::object();  // e.g. {"convention": "hf-stride"}
};

nlohmann::json to_json(const Measurement& m);
// "task", "metric" and "value" are needed; keys that it does not know go to `extra`.
Result<Measurement> measurement_from_json(const nlohmann::json& j);

}  // namespace lathe
