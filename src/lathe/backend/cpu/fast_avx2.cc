#include "lathe/backend/cpu/lanes_codes_avx2.h"
// The lanes come first.
#include "lathe/backend/cpu/kernel_bytes.h"
#include "lathe/backend/cpu/kernel_kv_int8.h"

namespace lathe::cpu {
extern const FastKernels kAvx2Fast;
const FastKernels kAvx2Fast = {
    quantize,       multiply_codes,           nullptr, nullptr, nullptr, nullptr, round_bytes,
    multiply_bytes, attend_int8<LaneProduct>, nullptr};
}  // namespace lathe::cpu
