// Calibration: text that streams through the model block by block, and what its linear layers see.
//
// Hidden states of all samples are held (samples · length · C floats), one block's weights and one
// input's statistics; nothing else of the model is in memory. The forward pass is the one of
// model/forward.h; a WrappedOps taps the inputs. Sums over one sample are in f32, over samples in
// f64, in a fixed order: the same data, seed and instruction set give the same bytes on any number
// of threads.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "lathe/backend/ops.h"
#include "lathe/compress/linear_stats.h"
#include "lathe/model/checkpoint.h"
#include "lathe/model/model.h"

namespace lathe {

// `calibration:` of a recipe.
struct CalibrationSpec {
  std::string data;  // a text file, or JSON lines with a "text" or "messages" each
  int64_t samples = 128;
  int64_t length = 512;  // tokens of a sample
  int64_t seed = 0;
};
Result<CalibrationSpec> calibration_from_json(const nlohmann::json& json);
nlohmann::json to_json(const CalibrationSpec& spec);

// The tokens of every sample: windows at random places of the tokenized data, BOS first where the
// tokenizer puts it. Documents of JSON lines are tokenized one by one and follow each other; lines
// with "messages" (role, content) go through the model's chat template.
// Refuses data of fewer tokens than one sample.
Result<std::vector<std::vector<int32_t>>> calibration_samples(const CalibrationSpec& spec,
                                                              const std::string& tokenizer_path);

class CalibrationStream {
 public:
  // Embeds the samples. `source` must outlive this.
  static Result<std::unique_ptr<CalibrationStream>> create(
      const Checkpoint& source, std::vector<std::vector<int32_t>> samples, ThreadPool& pool);

  int64_t tokens() const { return tokens_; }
  // The hidden states of each sample [T, C], before the block that comes next.
  const std::vector<Tensor>& states() const { return states_; }
  // Goes on with the states of an earlier stream over the same samples. Refuses other shapes.
  Status set_states(std::vector<Tensor> states);
  // Statistics of the input of matrix `name` of block `layer`, which all blocks before have been
  // advanced through, with the weights as `current` gives them. `sharing` receives the names of all
  // matrices with the same input.
  Result<std::shared_ptr<const LinearStats>> collect(const Checkpoint& current, int64_t layer,
                                                     const std::string& name,
                                                     std::vector<std::string>& sharing);
  // Takes the hidden states through block `layer`, whose number of heads may be less than the
  // source's.
  Status advance(const Checkpoint& current, int64_t layer);

 private:
  CalibrationStream() = default;
  Status run(const Checkpoint& current, int64_t layer, Ops& ops, bool keep);

  std::unique_ptr<Ops> ops_;
  Rope rope_, local_rope_;
  std::vector<std::vector<int32_t>> samples_;
  std::vector<Tensor> states_;
  int64_t tokens_ = 0;
};

}  // namespace lathe
