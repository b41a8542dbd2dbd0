// GramSum: what calibration sums up of one input: XᵀX, Σ |x| and max |x| of each column.
//
// Only the upper triangle is multiplied, in blocks of columns, by the backend's f32 products, or
// its BF16 products, which round x first: XᵀX is then that of the inputs which such a product sees.
// Some thousand tokens at a time: within these sums are in f32, over them in f64. Where they begin
// depends on the number of tokens alone, so that the same inputs give the same bytes on any number
// of threads.
#pragma once

#include <memory>
#include <vector>

#include "lathe/backend/ops.h"
#include "lathe/compress/linear_stats.h"

namespace lathe {

class GramSum {
 public:
  // `tokens`: how many will come at the most. `products`: "f32" or "bf16".
  GramSum(Ops& ops, int64_t size, int64_t tokens, FormatPtr products);

  void add(const Tensor& x);  // [T, K]
  std::shared_ptr<const LinearStats> finish();

  // Memory that the sums of an input of `size` columns and `tokens` tokens take, the working space
  // of the products included.
  static int64_t bytes(int64_t size, int64_t tokens);

 private:
  void take(const Tensor& x, int64_t from, int64_t count);
  void flush();
  void sum_rows(size_t block);

  Linear round_and_pack(Tensor& block);

  Ops& ops_;
  FormatPtr products_;
  int64_t capacity_, filled_ = 0;
  std::shared_ptr<LinearStats> stats_;
  std::vector<Tensor> blocks_;  // [columns of the block, capacity]: the inputs across
};

}  // namespace lathe
