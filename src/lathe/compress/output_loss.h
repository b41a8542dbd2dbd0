// What a change of a weight matrix does to its output on the calibration data.
#pragma once

#include "lathe/backend/ops.h"
#include "lathe/compress/linear_stats.h"

namespace lathe {

class OutputLoss {
 public:
  // Refuses statistics that are not finite.
  static Result<OutputLoss> create(const LinearStats& stats, ThreadPool& pool);

  // Mean over the tokens of |x · Eᵀ|² for the errors E (rows × K). Products in f32, sums in f64;
  // the number of threads changes nothing.
  double operator()(const float* errors, int64_t rows) const;

 private:
  std::shared_ptr<Ops> ops_;
  Linear gram_;
  int64_t size_ = 0;
};

}  // namespace lathe
