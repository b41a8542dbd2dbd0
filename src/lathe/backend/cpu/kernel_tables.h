// The kernels of an instruction set.
#pragma once

#include "lathe/backend/cpu/cpu_backend.h"
#include "lathe/backend/cpu/kernels.h"

namespace lathe::cpu {

// The CPU must have it.
const Kernels& kernels_of(Isa isa);

}  // namespace lathe::cpu
