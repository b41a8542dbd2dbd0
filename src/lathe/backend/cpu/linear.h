// The driver of the matrix kernels: few tokens (decode) and many (prefill), over all threads.
#pragma once

#include <span>

#include "lathe/backend/cpu/packed.h"
#include "lathe/tensor/tensor.h"

namespace lathe::cpu {

struct Product {
  const CpuPacked* weight;
  const float* bias;  // [N] or null
  float* out;         // [T, N]
};

// out = x·Wᵀ + bias for several matrices of the same input x [T, K], in one parallel region.
// Every element is summed in an order that depends on K alone and on T ≤ 4 or T > 4.
void multiply(const Kernels& kernels, ThreadPool& pool, std::span<const Product> products,
              const Tensor& x);

}  // namespace lathe::cpu
