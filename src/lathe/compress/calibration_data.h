// Calibration data: what `calibration:` of a recipe names, as samples of tokens.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "lathe/base/threads.h"
#include "lathe/model/checkpoint.h"

namespace lathe {

// `calibration:` of a recipe. One of data, temperature, importances and hessians is given.
struct CalibrationSpec {
  std::string data;  // a text file, or JSON lines with a "text" or "messages" each
  int64_t samples = 128;
  int64_t length = 512;  // tokens of a sample
  int64_t seed = 0;
  // A file of importances (importances.h), for passes that need no more; without samples.
  std::string importances = {};
  std::string hessians = {};  // one of those (hessians.h), likewise
  // The model writes the samples itself, drawing each token at this temperature.
  std::optional<double> temperature = {};

  // The file that it names; empty where the model writes.
  const std::string& file() const {
    return !importances.empty() ? importances : !hessians.empty() ? hessians : data;
  }
  // Statistics from a file, not samples.
  bool stored() const { return !importances.empty() || !hessians.empty(); }
};
Result<CalibrationSpec> calibration_from_json(const nlohmann::json& json);
nlohmann::json to_json(const CalibrationSpec& spec);

using Samples = std::vector<std::vector<int32_t>>;

// Of text: windows at random places of the tokenized data, BOS first where the tokenizer puts it.
// Documents of JSON lines are tokenized one by one and follow each other; lines with "messages"
// (role, content) go through the model's chat template.
// Refuses data of fewer tokens than one sample.
Result<Samples> calibration_samples(const CalibrationSpec& spec, const std::string& tokenizer_path);

// Of the model's own making (data-free calibration: Liu et al. 2023, LLM-QAT, section 3.1): after
// BOS, or a token drawn uniformly from the vocabulary where the tokenizer puts none, each token is
// drawn from the model's distribution, all of it. What follows an end of text stands in the same
// sample. Differs from the paper: no greedy first tokens. Exact products, in batches that do not
// depend on the number of threads: the same model, seed and instruction set give the same tokens.
// Holds the whole model in memory until it returns.
Result<Samples> generated_samples(const CalibrationSpec& spec, const Checkpoint& source,
                                  ThreadPool& pool);

struct CalibrationData {
  Samples samples;
  std::string sha256;  // of the file, or of the generated ids (little-endian i32)
};
Result<CalibrationData> calibration_data(const CalibrationSpec& spec, const Checkpoint& source,
                                         ThreadPool& pool);

}  // namespace lathe
