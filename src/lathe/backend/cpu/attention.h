// Attention over the key-value cache: online softmax, blocks of keys, grouped queries share them.
#pragma once

#include "lathe/backend/cpu/kernels.h"
#include "lathe/backend/ops.h"

namespace lathe::cpu {

// As Ops::attention; `fast` may be null (KvProducts). Work is cut into (sequence, key head, block
// of queries, run of keys) by shapes alone, so that the result does not depend on the number of
// threads.
Tensor attend(const Kernels& kernels, const FastKernels* fast, ThreadPool& pool,
              const AttentionSpec& spec, int64_t layer, std::span<const SequenceSpan> spans,
              const Tensor& q, const Tensor& k, const Tensor& v);

}  // namespace lathe::cpu
