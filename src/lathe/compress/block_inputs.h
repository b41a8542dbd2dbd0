// BlockInputs: what is known of the inputs of the matrices that a compression works on, wherever it
// comes from: text that streams through the model, a file of importances, or one of Hessians.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "lathe/compress/calibration.h"
#include "lathe/compress/current_model.h"
#include "lathe/compress/hessians.h"

namespace lathe {

class BlockInputs {
 public:
  // `wanted`: the matrices whose inputs will be asked for; a stored file must have them all.
  // `source` must outlive this; `data` are the samples, unless the statistics are stored.
  static Result<std::unique_ptr<BlockInputs>> create(const Checkpoint& source,
                                                     const CalibrationSpec& spec,
                                                     CalibrationData data,
                                                     const std::vector<std::string>& wanted,
                                                     ThreadPool& pool);

  // Of the data, or of the file of statistics.
  const std::string& sha256() const { return sha256_; }
  // Null where the statistics are stored.
  CalibrationStream* stream() { return stream_.get(); }

  // Block `layer` is done; what is cached of it goes.
  Status finish_block(const CurrentModel& current, int64_t layer, bool more_follow);
  // Of the block as it is now, none of its matrices being done.
  Result<std::shared_ptr<const LinearStats>> before_block(const CurrentModel& current,
                                                          int64_t layer, const std::string& name);
  // Of a matrix whose turn it is: those before it are done. Matrices of a block come in the order
  // in which data meets them, so that the inputs are those that the matrices compressed so far
  // give.
  Result<std::shared_ptr<const LinearStats>> of(const CurrentModel& current, int64_t layer,
                                                const std::string& name);

 private:
  BlockInputs() = default;
  Status take_importances(const CalibrationSpec& spec, const ModelConfig& config,
                          const std::vector<std::string>& wanted);
  Status open_hessians(const CalibrationSpec& spec, const ModelConfig& config,
                       const std::vector<std::string>& wanted, ThreadPool& pool);
  Result<std::shared_ptr<const LinearStats>> stored(const CurrentModel& current,
                                                    const std::string& name);

  std::string sha256_;
  std::unique_ptr<CalibrationStream> stream_;
  std::map<std::string, std::shared_ptr<const LinearStats>> importances_;
  std::unique_ptr<Hessians> hessians_;
  // Of the matrix that was asked for last, and of those that share its input.
  std::shared_ptr<const LinearStats> stats_;
  std::vector<std::string> sharing_;
};

}  // namespace lathe
