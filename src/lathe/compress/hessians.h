// Hessians: XᵀX of the inputs of all matrices inside the blocks of a model, in a file, so that one
// pass over the calibration text serves many compressions.
//
// Safetensors, F32: for the first matrix of each set that shares an input (q_proj; o_proj;
// gate_proj, or up_proj where there is no gate; down_proj)
//   NAME.gram      [K·(K+1)/2]  Σ xᵢ xⱼ, j ≥ i, row by row
//   NAME.absolute  [K]          Σ |x|
//   NAME.largest   [K]          max |x|
// and the metadata {"format": "lathe-hessians", "tokens", "data", "data_sha256"}.
//
// As with importances, a file holds what the unchanged model gives; a compression that looks at
// text fits each matrix to the inputs that the compressed matrices before it give.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "lathe/compress/calibration_data.h"
#include "lathe/compress/linear_stats.h"
#include "lathe/io/safetensors.h"
#include "lathe/model/checkpoint.h"

namespace lathe {

// Runs the samples through the model, block by block, and writes as it goes: the statistics of one
// block are in memory. `from`: what the samples are, for the metadata.
Status write_hessians(const std::string& path, const Checkpoint& source, CalibrationData data,
                      const std::string& from, ThreadPool& pool);
// Bytes of such a file, but for its header.
int64_t hessians_bytes(const ModelConfig& config);

class Hessians {
 public:
  // Refuses malformed files, those of other kinds, and what does not fit the model. The numbers
  // are looked at as they are used.
  static Result<std::unique_ptr<Hessians>> open(const std::string& path, const ModelConfig& config,
                                                ThreadPool& pool);

  // By canonical name of any matrix inside the blocks.
  bool has(const std::string& name) const;
  // All that have the input of `name`.
  std::vector<std::string> sharing(const std::string& name) const;
  // Refuses numbers that are not finite, sums of squares or magnitudes below 0, and inputs that are
  // all zero.
  Result<LinearStats> of(const std::string& name) const;

 private:
  Hessians(std::string path, SafetensorsFile file, ThreadPool& pool)
      : path_(std::move(path)), file_(std::move(file)), pool_(pool) {}

  std::string path_;
  SafetensorsFile file_;
  ThreadPool& pool_;
  int64_t tokens_ = 0;
  std::map<std::string, std::string> first_of_;  // of each matrix: whose name its input has
  std::map<std::string, int64_t> sizes_;         // of the inputs, by that name
};

}  // namespace lathe
