// Products with many tokens in BF16: x is rounded once, weights are decoded to BF16 a slab at a
// time.
#pragma once

#include <span>

#include "lathe/backend/cpu/linear.h"

namespace lathe::cpu {

// For packed matrices. out as in multiply().
void multiply_bf16(const Kernels& kernels, const FastKernels& fast, ThreadPool& pool,
                   std::span<const Product> products, const Tensor& x);

}  // namespace lathe::cpu
