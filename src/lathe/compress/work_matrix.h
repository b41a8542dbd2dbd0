// WorkMatrix: one weight matrix on its way through the passes.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "lathe/base/threads.h"
#include "lathe/compress/linear_stats.h"
#include "lathe/formats/weight_matrix.h"
#include "lathe/model/checkpoint.h"

namespace lathe {

class WorkMatrix {
 public:
  WorkMatrix(const MatrixInfo& info, WeightMatrix source)
      : info_(info), source_(source), stored_(std::move(source)) {}

  const MatrixInfo& info() const { return info_; }
  int64_t size() const { return info_.rows * info_.cols; }
  const WeightMatrix& source() const { return source_; }

  // The weights as they are now, rows × cols; `scratch` is used where they are not held as floats.
  const float* rows(int64_t begin, int64_t end, std::vector<float>& scratch) const;
  // All of them, rows × cols, decoded once.
  const float* weights(ThreadPool& pool);

  // 1 where a weight is pruned and must stay exactly 0; empty: none.
  const std::vector<uint8_t>& mask() const { return mask_; }
  // Adds to the mask (rows × cols) and sets those weights to 0.
  void prune(const std::vector<uint8_t>& mask, ThreadPool& pool);

  // Other weights (rows × cols) in place of those there are; pruned ones must be 0.
  void replace(std::vector<float> weights);
  // The same, already in a format.
  void store(WeightMatrix stored);

  // What calibration saw of this matrix's input; set where a pass needs it.
  const LinearStats& stats() const {
    LATHE_CHECK(stats_ != nullptr);
    return *stats_;
  }
  const std::shared_ptr<const LinearStats>& shared_stats() const { return stats_; }
  void set_stats(std::shared_ptr<const LinearStats> stats) { stats_ = std::move(stats); }
  // For the report: a statement about what had to be done otherwise than asked.
  const std::string& note() const { return note_; }
  void note_damping(double asked, double used);

  // Rounds to what `format` can hold; pruned weights are 0 afterwards too. From here on the weights
  // are what the format gives back.
  Status quantize(const FormatPtr& format, ThreadPool& pool);

  // As stored: in the format of the last quantize(), the source's before the first. Only where no
  // pass has changed the weights since.
  bool is_stored() const { return !changed_; }
  const WeightMatrix& stored() const { return stored_; }
  // Still the source's very bytes.
  bool is_untouched() const { return untouched_; }

  // Of a row: Σ (ŵ − w)² and Σ w² against the source, and how many ŵ are 0.
  struct RowSums {
    double error = 0, power = 0;
    int64_t zeros = 0;
  };
  // As quantize() has measured it on its way; empty where it could not.
  const std::vector<RowSums>& sums() const { return sums_; }

 private:
  void change();
  void become(WeightMatrix stored);

  const MatrixInfo& info_;
  WeightMatrix source_, stored_;
  std::vector<float> weights_;  // empty: those of stored_
  bool changed_ = false;        // weights_ are no longer those of stored_
  bool untouched_ = true;
  std::vector<RowSums> sums_;
  std::vector<uint8_t> mask_;
  std::shared_ptr<const LinearStats> stats_;
  std::string note_;
};

// What storing a matrix cost, against its source.
struct StorageError {
  double mse = 0;             // mean of (ŵ − w)²
  double relative_error = 0;  // ‖Ŵ − W‖ / ‖W‖ (Frobenius); 0 for a matrix of zeros
  int64_t zeros = 0;          // weights that are exactly 0
  int64_t lost_zeros = 0;     // pruned weights that are not: must be none
};
// Sums are in f64 over rows, then over the matrix, whatever the number of threads.
StorageError storage_error(const WorkMatrix& matrix, ThreadPool& pool);

}  // namespace lathe
