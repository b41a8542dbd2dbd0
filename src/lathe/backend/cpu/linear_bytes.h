// Products of integer and look-up codes with many tokens on bytes: x is rounded to bytes once,
// codes are unpacked in registers.
#pragma once

#include <span>

#include "lathe/backend/cpu/linear.h"

namespace lathe::cpu {

// For packed matrices of integer codes. out as in multiply().
void multiply_bytes(const Kernels& kernels, const FastKernels& fast, ThreadPool& pool,
                    std::span<const Product> products, const Tensor& x);

}  // namespace lathe::cpu
