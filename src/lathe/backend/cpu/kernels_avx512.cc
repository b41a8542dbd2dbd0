#include "lathe/backend/cpu/lanes_avx512.h"
// The lanes come first.
#include "lathe/backend/cpu/kernel_math.h"
// The functions come before what uses them.
#include "lathe/backend/cpu/kernel_attention.h"
#include "lathe/backend/cpu/kernel_linear.h"
#include "lathe/backend/cpu/kernel_rows.h"
#include "lathe/backend/cpu/lanes_sparse_avx512.h"
// The lanes come first.
#include "lathe/backend/cpu/kernel_sparse.h"

namespace lathe::cpu {
extern const Kernels kAvx512Kernels;
LATHE_KERNEL_TABLE(kAvx512Kernels);
}  // namespace lathe::cpu
