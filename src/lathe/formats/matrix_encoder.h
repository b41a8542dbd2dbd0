// MatrixEncoder: encodes a matrix rows at a time, on several threads, where its format allows that,
// and decodes what is encoded already, so that a compressor reads each weight once.
#pragma once

#include "lathe/formats/weight_matrix.h"

namespace lathe {

class MatrixEncoder {
 public:
  // Refuses shapes that the format does not support, and formats that are only read.
  static Result<MatrixEncoder> create(FormatPtr format, int64_t rows, int64_t cols,
                                      std::string_view where);

  // False where blocks run across the ends of rows: encode the matrix whole, with
  // WeightMatrix::encode().
  bool by_rows() const { return by_rows_; }
  // Whether decode() may come before finish().
  bool decodes() const { return by_rows_ && !nested_; }

  // Rows [begin, end), `weights` being theirs; disjoint ranges at the same time. False, and nothing
  // of use is stored, where one is not finite.
  bool encode(int64_t begin, int64_t end, const float* weights);
  void decode(int64_t begin, int64_t end, float* out) const;
  // Refuses what the format cannot hold (70000 in f16).
  Result<WeightMatrix> finish(std::string_view where);

 private:
  FormatPtr format_;
  int64_t rows_ = 0, cols_ = 0;
  bool by_rows_ = false, nested_ = false;
  int64_t block_ = 0;          // of a code book; else 0
  std::vector<float> absmax_;  // of such blocks
  std::vector<Bytes> parts_;
  std::vector<uint8_t*> buffers_;
};

}  // namespace lathe
