// The metrics that a task file can ask for of generated text: a registry. Adding one is an entry in
// text_metrics.cc (and its pure function in metrics/).
#pragma once

#include <functional>
#include <memory>

#include "lathe/eval/task.h"

namespace lathe {

// A metric with its options settled.
struct TextMetric {
  // Puts the sample's numbers into `scores`.
  std::function<void(std::span<const std::string> references, const std::string& prediction,
                     std::map<std::string, double>& scores)>
      score;
  std::vector<MetricDef> rows;
  // Of coherence, which has one row and no `score`: an encoder scores it later (Task::judge).
  std::string encoder = {};
};

struct TextMetricKind {
  std::string name;
  std::string description;
  // `name`: what the user calls its row (kinds with one row); else the kind's own name.
  Result<TextMetric> (*create)(const std::string& name, const nlohmann::ordered_json& options);
};

const std::vector<TextMetricKind>& text_metric_kinds();

// `entry`: "bleu", or {"exact_match": {options…}} with `name` and `filter` already taken out.
Result<TextMetric> make_text_metric(const std::string& kind, const std::string& name,
                                    const nlohmann::ordered_json& options);

}  // namespace lathe
