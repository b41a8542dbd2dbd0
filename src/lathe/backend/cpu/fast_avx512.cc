#include "lathe/backend/cpu/lanes_codes_avx512.h"
// The lanes come first.
#include "lathe/backend/cpu/kernel_ints.h"

namespace lathe::cpu {
extern const FastKernels kAvx512Fast;
const FastKernels kAvx512Fast = {quantize, multiply_codes};
}  // namespace lathe::cpu
