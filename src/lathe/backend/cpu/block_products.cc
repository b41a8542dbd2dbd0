#include "lathe/backend/cpu/block_products.h"

#include "lathe/backend/cpu/block_products_kernel.h"
#include "lathe/backend/cpu/cpu_backend.h"

namespace lathe {
namespace {

const BlockProducts& chosen() {
  static const BlockProducts& products = [&]() -> const BlockProducts& {
#if defined(__x86_64__)
    const auto isa = chosen_isa();  // a wrong LATHE_ISA is refused where operations are made
    if (isa.ok() && (*isa == Isa::kAvx512 || *isa == Isa::kAmx)) return kBlockProductsAvx512;
    if (isa.ok() && *isa == Isa::kAvx2) return kBlockProductsAvx2;
#endif
    return kBlockProductsPortable;
  }();
  return products;
}

}  // namespace

const BlockProducts kBlockProductsPortable = {all_blocks<1, double, Doubles>,
                                              all_blocks<1, float, Floats>};

void subtract_product(double* c, int64_t ldc, const double* a, int64_t lda, const double* b,
                      int64_t ldb, int64_t m, int64_t n, int64_t k) {
  chosen().f64(c, ldc, a, lda, b, ldb, m, n, k);
}
void subtract_product(float* c, int64_t ldc, const float* a, int64_t lda, const float* b,
                      int64_t ldb, int64_t m, int64_t n, int64_t k) {
  chosen().f32(c, ldc, a, lda, b, ldb, m, n, k);
}

}  // namespace lathe
