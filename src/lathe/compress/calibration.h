// Calibration: text that streams through the model block by block, and what its linear layers see.
//
// Hidden states of all samples are held (samples · length · C floats), one block's weights and one
// input's statistics; nothing else of the model is in memory. The forward pass is the one of
// model/forward.h; a WrappedOps taps the inputs. Sums over one sample are in f32, over samples in
// f64, in a fixed order: the same data, seed and instruction set give the same bytes on any number
// of threads.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "lathe/backend/ops.h"
#include "lathe/compress/calibration_data.h"
#include "lathe/compress/linear_stats.h"
#include "lathe/model/checkpoint.h"
#include "lathe/model/model.h"

namespace lathe {

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
  // The same, and adds up Σ x² of the input of every matrix of the block, by name.
  Status advance(const Checkpoint& current, int64_t layer,
                 std::map<std::string, LinearStats>& squares);

 private:
  CalibrationStream() = default;
  Status run(const Checkpoint& current, int64_t layer, Ops& ops, bool keep);

  std::unique_ptr<Ops> ops_;
  Rope rope_, local_rope_;
  Samples samples_;
  std::vector<Tensor> states_;
  int64_t tokens_ = 0;
};

}  // namespace lathe
