// Products of a few query rows with the keys and the values of one head of a cache.
#pragma once

#include "lathe/backend/cpu/kernels.h"
#include "lathe/backend/kv_cache.h"

namespace lathe::cpu {

class KvProducts {
 public:
  static constexpr int64_t kMost = 256;  // positions of one call
  // queries [rows][D] must outlive this. Uses the slots kTile, kValues and kCodes of this thread.
  // `fast`: for many rows, or null.
  KvProducts(const Kernels& kernels, const FastKernels* fast, const KvCache& cache, int64_t layer,
             int64_t head, const float* queries, int64_t rows);

  // scores[r·ld + j] = query r · key begin + j for j < count, and anything up to the next multiple
  // of 16; begin is a multiple of 64, count at most kMost.
  void scores(int64_t begin, int64_t count, float* scores, int64_t ld) const;
  // sums[r·Dv + d] += Σ_j weights[r·ld + j] · value(begin + j, d), j < count.
  void add_values(int64_t begin, int64_t count, const float* weights, int64_t ld,
                  float* sums) const;

 private:
  void multiply(const KvTile& tile, const float* x, int64_t ldx, float* y, int64_t ldy,
                bool accumulate) const;
  PackedView int4_block(bool keys, int64_t position) const;

  const Kernels& kernels_;
  const FastKernels* fast_;
  const KvCache& cache_;
  int64_t layer_, head_, rows_;
  const float* queries_;
};

}  // namespace lathe::cpu
