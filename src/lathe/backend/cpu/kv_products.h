// Products of a few query rows with the keys and the values of one head of a cache.
#pragma once

#include "lathe/backend/cpu/kernels.h"
#include "lathe/backend/kv_cache.h"

namespace lathe::cpu {

class KvProducts {
 public:
  // queries [rows][D] must outlive this. `fast`, which may be null, multiplies an int8 cache as
  // integers: queries and weights of values in 15 bits (QuantizedView), scales per query, and per
  // row and run of 64 positions. Uses the slots kCodes and kValues of this thread.
  KvProducts(const Kernels& kernels, const FastKernels* fast, const KvCache& cache, int64_t layer,
             int64_t head, const float* queries, int64_t rows);

  // scores[r·ld + j] = query r · key begin + j for j < count, and anything up to the next multiple
  // of 16; begin is a multiple of 64.
  void scores(int64_t begin, int64_t count, float* scores, int64_t ld) const;
  // sums[r·Dv + d] += Σ_j weights[r·ld + j] · value(begin + j, d), j < count. May change weights.
  void add_values(int64_t begin, int64_t count, float* weights, int64_t ld, float* sums) const;

 private:
  PackedView codes_of(const void* data, int64_t rows, int64_t cols, int64_t panel_bytes) const;

  const Kernels& kernels_;
  const FastKernels* fast_;  // null: f32
  KvCode code_;
  int64_t rows_, size_, key_stride_, value_stride_, element_;
  const float* queries_;
  const uint8_t *keys_, *values_;
  const float *key_scales_ = nullptr, *value_scales_ = nullptr;  // int8
  uint8_t* memory_ = nullptr;  // queries as integers, then weights of one slice
};

}  // namespace lathe::cpu
