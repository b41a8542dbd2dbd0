// LossMeter: how far a model's predictions move when some of its matrices are changed, on samples
// that stream through both, with no logits written down.
//
// The unchanged model's hidden states before one block are held, so that a change in block L costs
// the blocks from L on alone. Its logits are held where all of them fit into kLogitBytes, and made
// anew each time otherwise. Products are f32 throughout (Math::kExact): what is measured is the
// weights, not the kernels' rounding.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "lathe/model/forward.h"
#include "lathe/model/model.h"

namespace lathe {

// Against the unchanged model, over every position of every sample but the last.
struct LossChange {
  double kl = 0;    // mean Σ p ln(p / q), nats; p: the unchanged model's
  double top1 = 0;  // share of positions with the same most likely token
  double ppl = 0;   // of the changed model
  double base_ppl = 0;
  double output_mse = 0;    // mean square of the difference of the logits
  double output_power = 0;  // mean square of the unchanged logits
  double cosine = 0;        // of all logits together
  int64_t tokens = 0;
};

class LossMeter {
 public:
  static constexpr int64_t kLogitBytes = int64_t{512} << 20;

  // `ops` must outlive this. Samples of at least two tokens, within the model's context and
  // vocabulary.
  static Result<std::unique_ptr<LossMeter>> create(std::shared_ptr<const Model> model, Ops& ops,
                                                   std::vector<std::vector<int32_t>> samples);

  const Model& model() const { return *model_; }
  Ops& ops() { return ops_; }
  // Takes the held states forward to the entrance of `layer`; not backward.
  Status advance_to(int64_t layer);
  // `changed`: a copy of model() with other matrices in blocks from `first` on, or in the head.
  // `first` is no less than where advance_to() stands; -1: the tables differ as well.
  Result<LossChange> measure(const Model& changed, int64_t first) const;

 private:
  LossMeter(std::shared_ptr<const Model> model, Ops& ops) : model_(std::move(model)), ops_(ops) {}
  Result<Tensor> run(const Model& model, size_t sample, Tensor x, int64_t begin, int64_t end) const;
  Tensor embedded(const Model& model, size_t sample) const;

  std::shared_ptr<const Model> model_;
  Ops& ops_;
  std::vector<std::vector<int32_t>> samples_;
  int64_t layer_ = 0;
  std::vector<Tensor> states_;  // before block layer_
  std::vector<Tensor> last_;    // after the last block, of the unchanged model
  std::vector<Tensor> logits_;  // of the unchanged model; empty: too many
};

}  // namespace lathe
