#include "lathe/backend/cpu/lanes_avx2.h"
// The lanes come first.
#include "lathe/backend/cpu/kernel_math.h"
// The functions come before what uses them.
#include "lathe/backend/cpu/kernel_attention.h"
#include "lathe/backend/cpu/kernel_linear.h"
#include "lathe/backend/cpu/kernel_rows.h"
#include "lathe/backend/cpu/lanes_sparse_avx2.h"
// The lanes come first.
#include "lathe/backend/cpu/kernel_sparse.h"

namespace lathe::cpu {
extern const Kernels kAvx2Kernels;
LATHE_KERNEL_TABLE(kAvx2Kernels);
}  // namespace lathe::cpu
