// WeightMatrix: rows × columns in some format, over owned or memory-mapped bytes. Immutable; copies
// share the bytes. The layers above see weights only through this and through Ops::linear.
#pragma once

#include <vector>

#include "lathe/formats/format.h"

namespace lathe {

class ThreadPool;

class WeightMatrix {
 public:
  WeightMatrix() = default;
  // Validates; `where` names the matrix in the error.
  static Result<WeightMatrix> create(FormatPtr format, int64_t rows, int64_t cols,
                                     std::vector<Bytes> parts, std::string_view where);
  // Encodes f32 weights (rows × cols), in parallel over rows where the format allows it; the bytes
  // do not depend on the number of threads. Refuses NaN and infinity, naming the element, and
  // weights out of the format's range.
  static Result<WeightMatrix> encode(FormatPtr format, const float* weights, int64_t rows,
                                     int64_t cols, std::string_view where,
                                     ThreadPool* pool = nullptr);
  // Wraps an f32 array that is copied.
  static WeightMatrix of_floats(const float* weights, int64_t rows, int64_t cols);

  bool empty() const { return !format_; }
  const Format& format() const { return *format_; }
  const FormatPtr& format_ptr() const { return format_; }
  int64_t rows() const { return rows_; }
  int64_t cols() const { return cols_; }
  int64_t bytes() const;
  std::span<const Bytes> parts() const { return parts_; }

  // Rows [begin, end) as f32, row-major.
  void decode_rows(int64_t begin, int64_t end, float* out) const;
  // All rows, in parallel.
  std::vector<float> decode(ThreadPool& pool) const;
  std::vector<float> decode() const;

 private:
  FormatPtr format_;
  int64_t rows_ = 0, cols_ = 0;
  std::vector<Bytes> parts_;
};

}  // namespace lathe
