#include "lathe/backend/cpu/quantized.h"

#include <algorithm>
#include <cstring>

namespace lathe::cpu {

const QuantizedView* QuantizedInputs::of(const FastKernels& fast, ThreadPool& pool,
                                         const PackedView& weights) {
  for (const auto& e : entries_) {
    if (e->view.group == weights.group) return &e->view;
  }
  auto entry = std::make_unique<Entry>();
  QuantizedView& q = entry->view;
  q.tokens = x_.rows();
  q.cols = x_.cols();
  q.columns = (q.cols + 63) / 64 * 64;
  q.group = weights.group;
  q.groups = weights.groups;
  q.block = std::min(q.group, kQuantBlock);
  q.blocks = (q.group + q.block - 1) / q.block;
  const int64_t codes = q.tokens * q.columns, scales = q.tokens * q.groups * q.blocks;
  const int64_t bytes = 2 * codes + 8 * scales + 4 * q.groups * q.tokens + 64;
  entry->memory = std::make_unique_for_overwrite<uint8_t[]>(static_cast<size_t>(bytes));
  uint8_t* p = entry->memory.get();
  p += (64 - reinterpret_cast<uintptr_t>(p) % 64) % 64;
  // What lies behind K, and blocks that a short last group does not have.
  std::memset(p, 0, static_cast<size_t>(bytes - 64));
  q.high = reinterpret_cast<int8_t*>(p);
  q.low = q.high + codes;
  q.scales = reinterpret_cast<float*>(p + 2 * codes);
  q.code_sums = reinterpret_cast<int32_t*>(p + 2 * codes + 4 * scales);
  q.sums = reinterpret_cast<float*>(p + 2 * codes + 8 * scales);
  pool.parallel_for(q.tokens, 1, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) fast.quantize(x_.row(t), t, &q);
  });
  entries_.push_back(std::move(entry));
  return &entries_.back()->view;
}

}  // namespace lathe::cpu
