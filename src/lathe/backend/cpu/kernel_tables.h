// The kernels of an instruction set.
#pragma once

#include "lathe/backend/cpu/cpu_backend.h"
#include "lathe/backend/cpu/kernels.h"

namespace lathe::cpu {

// The CPU must have it.
const Kernels& kernels_of(Isa isa);
// Null if the instruction set has none, or with Math::kExact.
const FastKernels* fast_kernels_of(Isa isa, Math math);

}  // namespace lathe::cpu
