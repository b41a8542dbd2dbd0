// WorkBlock: one transformer block before its matrices are compressed, and the places in it where a
// factor per channel can be moved from one tensor to the next without changing what the block
// computes.
#pragma once

#include <functional>
#include <memory>

#include "lathe/compress/current_model.h"
#include "lathe/compress/linear_stats.h"

namespace lathe {

class ThreadPool;

// What the channels of a norm or of the rows of a matrix stand for in the columns of others:
// dividing the former and multiplying the latter by the same factors leaves the product as it is.
struct ScaleFold {
  std::string norm, producer;          // one of the two
  std::vector<std::string> consumers;  // all that read it, with one input in common
  int64_t channels = 0;                // of the producer
  std::vector<int32_t> channel_of;     // of each column of the consumers
};
// Norm → q, k, v; v → o (each value channel serves the heads that share it); norm → gate, up; and
// up → down where the activation lets factors through: gated, or ReLU. With a parallel residual one
// norm serves attention and MLP.
std::vector<ScaleFold> scale_folds(const ModelConfig& config, int64_t layer);

class WorkBlock {
 public:
  using StatsOf = std::function<Result<std::shared_ptr<const LinearStats>>(const std::string&)>;
  using StoredAs = std::function<FormatPtr(const std::string&)>;

  WorkBlock(CurrentModel& model, int64_t layer, StatsOf stats_of, StoredAs stored_as);

  const ModelConfig& config() const { return model_.config(); }
  int64_t layer() const { return layer_; }
  const MatrixInfo& info(const std::string& name) const;
  // The format that the recipe will store a matrix in.
  FormatPtr stored_as(const std::string& name) const { return stored_as_(name); }
  Result<std::vector<float>> weights(const std::string& name, ThreadPool& pool) const;
  // Of the input of a matrix, as the block is now.
  Result<std::shared_ptr<const LinearStats>> stats(const std::string& name) const {
    return stats_of_(name);
  }

  // Moves factors[channel] (positive, finite) out of the producer into the consumers. Sums differ
  // from before by the rounding of f32.
  Status apply(const ScaleFold& fold, const std::vector<float>& factors, ThreadPool& pool);

 private:
  Status divide_vector(const std::string& name, const std::vector<float>& factors);

  CurrentModel& model_;
  int64_t layer_;
  StatsOf stats_of_;
  StoredAs stored_as_;
  std::vector<MatrixInfo> matrices_;
};

}  // namespace lathe
