// C −= A · B for blocks that stay in a cache, of f32 or f64: the inner loop of factorizations.
// Every element is summed in the order of k, fused where the instruction set can, so that the bits
// do not depend on what else is computed beside it.
#pragma once

#include <cstdint>

namespace lathe {

// C [m, n], A [m, k], B [k, n], row-major with rows `ld*` apart; C overlaps neither. With the
// instruction set of chosen_isa().
void subtract_product(double* c, int64_t ldc, const double* a, int64_t lda, const double* b,
                      int64_t ldb, int64_t m, int64_t n, int64_t k);
void subtract_product(float* c, int64_t ldc, const float* a, int64_t lda, const float* b,
                      int64_t ldb, int64_t m, int64_t n, int64_t k);

// One instruction set's.
struct BlockProducts {
  void (*f64)(double* c, int64_t ldc, const double* a, int64_t lda, const double* b, int64_t ldb,
              int64_t m, int64_t n, int64_t k);
  void (*f32)(float* c, int64_t ldc, const float* a, int64_t lda, const float* b, int64_t ldb,
              int64_t m, int64_t n, int64_t k);
};
extern const BlockProducts kBlockProductsPortable, kBlockProductsAvx2, kBlockProductsAvx512;

}  // namespace lathe
