// Calibration data: what `calibration:` of a recipe names, as samples of tokens.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "lathe/model/checkpoint.h"

namespace lathe {

// `calibration:` of a recipe. Either data or importances are given.
struct CalibrationSpec {
  std::string data;  // a text file, or JSON lines with a "text" or "messages" each
  int64_t samples = 128;
  int64_t length = 512;  // tokens of a sample
  int64_t seed = 0;
  // A file of importances (importances.h), for passes that need no more; without samples.
  std::string importances = {};

  // The file that it names.
  const std::string& file() const { return importances.empty() ? data : importances; }
};
Result<CalibrationSpec> calibration_from_json(const nlohmann::json& json);
nlohmann::json to_json(const CalibrationSpec& spec);

using Samples = std::vector<std::vector<int32_t>>;

// Of text: windows at random places of the tokenized data, BOS first where the tokenizer puts it.
// Documents of JSON lines are tokenized one by one and follow each other; lines with "messages"
// (role, content) go through the model's chat template.
// Refuses data of fewer tokens than one sample.
Result<Samples> calibration_samples(const CalibrationSpec& spec, const std::string& tokenizer_path);

struct CalibrationData {
  Samples samples;
  std::string sha256;  // of the file
};
Result<CalibrationData> calibration_data(const CalibrationSpec& spec, const Checkpoint& source);

}  // namespace lathe
