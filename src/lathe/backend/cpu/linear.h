// The driver of the matrix kernels: few tokens (decode) and many (prefill), over all threads.
#pragma once

#include <span>

#include "lathe/backend/cpu/foresight.h"
#include "lathe/backend/cpu/packed.h"
#include "lathe/tensor/tensor.h"

namespace lathe::cpu {

struct Product {
  const CpuPacked* weight;
  const float* bias;  // [N] or null
  float* out;         // [T, N]
};

// out = x·Wᵀ + bias for several matrices of the same input x [T, K], in one parallel region.
// `fast` is null for products that are exact but for the order of summation. Every element is
// summed in an order that depends on K alone and on the range that T lies in: 1…4 and 5… with
// products on bytes, for floats and for exact products, else 1…kCodeTokens and more for integer
// codes. `foresight` is told of products with one token, and asked what comes next.
void multiply(const Kernels& kernels, const FastKernels* fast, ThreadPool& pool,
              std::span<const Product> products, const Tensor& x, Foresight* foresight = nullptr);

}  // namespace lathe::cpu
