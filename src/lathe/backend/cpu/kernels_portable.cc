#include "lathe/backend/cpu/lanes_portable.h"
// The lanes come first.
#include "lathe/backend/cpu/kernel_attention.h"
#include "lathe/backend/cpu/kernel_linear.h"
#include "lathe/backend/cpu/kernel_rows.h"
#include "lathe/backend/cpu/lanes_sparse_portable.h"
// The lanes come first.
#include "lathe/backend/cpu/kernel_sparse.h"

namespace lathe::cpu {
LATHE_KERNEL_TABLE(kPortableKernels);
}  // namespace lathe::cpu
