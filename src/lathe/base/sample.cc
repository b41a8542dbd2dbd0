#include "lathe/base/sample.h"

namespace lathe {

nlohmann::json to_json(const Sample& sample, const std::string& task) {
  nlohmann::json j = sample.detail;
  j["task"] = task;
  j["id"] = sample.id;
  j["scores"] = sample.scores;
  return j;
}

std::string json_line(const Sample& sample, const std::string& task) {
  using Handler = nlohmann::json::error_handler_t;
  return to_json(sample, task).dump(-1, ' ', false, Handler::replace) + "\n";
}

Result<Sample> sample_from_json(const nlohmann::json& j) {
  if (!j.is_object() || !j.contains("id") || !j["id"].is_string() || !j.contains("scores") ||
      !j["scores"].is_object()) {
    return bad_input("a sample needs 'id' and 'scores'");
  }
  Sample sample;
  sample.id = j["id"].get<std::string>();
  for (const auto& [name, value] : j["scores"].items()) {
    if (!value.is_number())
      return bad_input("score '{}' of sample '{}' is no number", name, sample.id);
    sample.scores[name] = value.get<double>();
  }
  sample.detail = j;
  for (const char* key : {"task", "id", "scores"}) sample.detail.erase(key);
  return sample;
}

}  // namespace lathe
