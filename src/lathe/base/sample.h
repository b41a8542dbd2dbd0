// One scored example of a task: a line of samples.jsonl. All numbers of a run come from these.
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "lathe/base/result.h"

namespace lathe {

struct Sample {
  std::string id;                                    // unique within the task
  std::map<std::string, double> scores;              // "f1": 0.8; "nll": 812.3 …
  nlohmann::json detail = nlohmann::json::object();  // "prompt", "prediction", "gold": for people
};

nlohmann::json to_json(const Sample& sample, const std::string& task);
// The same as a line of samples.jsonl; bytes that are no UTF-8 are replaced.
std::string json_line(const Sample& sample, const std::string& task);
Result<Sample> sample_from_json(const nlohmann::json& j);

}  // namespace lathe
