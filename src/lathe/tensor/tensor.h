// Tensor: f32 activations, row-major [rows, cols], shared and immutable once handed on.
// Activations are always f32; weights are WeightMatrix (formats/).
#pragma once

#include <cstdint>
#include <memory>

#include "lathe/base/check.h"

namespace lathe {

class Tensor {
 public:
  Tensor() = default;
  // Uninitialised; aligned to 64 bytes. Blocks are recycled per thread, so that a decode step does
  // not go to the system allocator.
  Tensor(int64_t rows, int64_t cols);

  int64_t rows() const { return rows_; }
  int64_t cols() const { return cols_; }
  int64_t size() const { return rows_ * cols_; }
  bool empty() const { return !data_; }

  const float* data() const { return data_.get(); }
  const float* row(int64_t r) const { return data_.get() + r * cols_; }
  // Writing is for the operation that made the tensor, before it returns it.
  float* mutable_data() { return data_.get(); }
  float* mutable_row(int64_t r) { return data_.get() + r * cols_; }
  // True when nobody else holds this block, so that an operation may reuse it for its result.
  bool unique() const { return data_.use_count() == 1; }

  // Bytes of all activation blocks alive or kept for reuse in this process, and their peak.
  static int64_t live_bytes();
  static int64_t peak_bytes();
  static void reset_peak();

 private:
  std::shared_ptr<float> data_;
  int64_t rows_ = 0, cols_ = 0;
};

}  // namespace lathe
