// Calibration: text that streams through the model block by block, and what its linear layers see.
//
// Hidden states of all samples are held (samples · length · C floats), one block's weights and one
// input's statistics; nothing else of the model is in memory. The forward pass is the one of
// model/forward.h; a WrappedOps taps the inputs (gram_sum.h). A pass that collects ends at the
// input that it is for, and begins in the middle of a block whose attention is done: the products
// of a block that q, k, v, o, gate, up and down are fitted in are computed 1.6 times in all. The
// same data, seed and instruction set give the same bytes on any number of threads.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "lathe/backend/cpu/cpu_backend.h"
#include "lathe/compress/calibration_data.h"
#include "lathe/compress/linear_stats.h"
#include "lathe/model/checkpoint.h"
#include "lathe/model/model.h"

namespace lathe {

// How calibration multiplies: with AMX in BF16, as the model will run (docs/decisions), else in
// f32. LATHE_MATH overrides it.
Result<Math> calibration_math();
// What XᵀX is multiplied in then.
FormatPtr gram_format(Isa isa, Math math);

// An input, and the matrices of a block that read it.
struct SharedInput {
  std::vector<std::string> sharing;  // in the order of the forward pass
  std::shared_ptr<const LinearStats> stats;
};

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
  // Takes the hidden states through the attention of block `layer`, once its matrices are what they
  // will stay; from then on collect() is of the MLP's. Does nothing the second time, or where a
  // block has no halves.
  Status advance_attention(const Checkpoint& current, int64_t layer);
  // Takes the hidden states through (what is left of) block `layer`, whose number of heads may be
  // less than the source's.
  Status advance(const Checkpoint& current, int64_t layer);
  // The same, and adds up Σ x² of the input of every matrix of the block, by name.
  Status advance(const Checkpoint& current, int64_t layer,
                 std::map<std::string, LinearStats>& squares);
  // The same, and appends the statistics of every input of the block.
  Status advance(const Checkpoint& current, int64_t layer, std::vector<SharedInput>& inputs);

 private:
  CalibrationStream() = default;
  enum class Part;
  // With `begin_sample`, which is called before each sample, the states stay as they are.
  Status run(const Checkpoint& current, int64_t layer, Ops& ops, Part part,
             const std::function<void()>& begin_sample = {});

  std::unique_ptr<Ops> ops_;
  FormatPtr products_;  // of XᵀX
  Rope rope_, local_rope_;
  Samples samples_;
  std::vector<Tensor> states_;
  int64_t tokens_ = 0;
  bool halfway_ = false;  // states_ have passed the attention of the next block
};

}  // namespace lathe
