#include "lathe/backend/cpu/quantized.h"

#include <algorithm>
#include <cstring>

#include "lathe/base/check.h"

namespace lathe::cpu {

namespace {

struct Sizes {
  int64_t columns, groups, block, blocks, codes, scales;
  Sizes(int64_t tokens, int64_t cols, int64_t group)
      : columns((cols + 63) / 64 * 64),
        groups((cols + group - 1) / group),
        block(std::min(group, kQuantBlock)),
        blocks((group + block - 1) / block),
        codes(tokens * columns),
        scales(tokens * groups * blocks) {}
  int64_t bytes(int64_t tokens) const { return 2 * codes + 8 * scales + 4 * groups * tokens; }
};

}  // namespace

int64_t quantized_bytes(int64_t tokens, int64_t cols, int64_t group) {
  return Sizes(tokens, cols, group).bytes(tokens);
}

void view_quantized(int64_t tokens, int64_t cols, int64_t group, uint8_t* memory,
                    QuantizedView* q) {
  const Sizes sizes(tokens, cols, group);
  q->tokens = tokens;
  q->cols = cols;
  q->columns = sizes.columns;
  q->group = group;
  q->groups = sizes.groups;
  q->block = sizes.block;
  q->blocks = sizes.blocks;
  q->high = reinterpret_cast<int8_t*>(memory);
  q->low = q->high + sizes.codes;
  q->scales = reinterpret_cast<float*>(memory + 2 * sizes.codes);
  q->code_sums = reinterpret_cast<int32_t*>(memory + 2 * sizes.codes + 4 * sizes.scales);
  q->sums = reinterpret_cast<float*>(memory + 2 * sizes.codes + 8 * sizes.scales);
}

void place_quantized(int64_t tokens, int64_t cols, int64_t group, uint8_t* memory,
                     QuantizedView* q) {
  std::memset(memory, 0, static_cast<size_t>(quantized_bytes(tokens, cols, group)));
  view_quantized(tokens, cols, group, memory, q);
}

const QuantizedView* QuantizedInputs::of(const FastKernels& fast, ThreadPool& pool,
                                         const PackedView& weights) {
  for (const auto& e : entries_) {
    if (e->view.group == weights.group) return &e->view;
  }
  auto entry = std::make_unique<Entry>();
  QuantizedView& q = entry->view;
  const int64_t bytes = quantized_bytes(x_.rows(), x_.cols(), weights.group);
  entry->memory = std::make_unique_for_overwrite<uint8_t[]>(static_cast<size_t>(bytes + 64));
  uint8_t* p = entry->memory.get();
  p += (64 - reinterpret_cast<uintptr_t>(p) % 64) % 64;
  place_quantized(x_.rows(), x_.cols(), weights.group, p, &q);
  LATHE_CHECK(q.groups == weights.groups);
  pool.parallel_for(q.tokens, 1, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) fast.quantize(x_.row(t), t, &q);
  });
  entries_.push_back(std::move(entry));
  return &entries_.back()->view;
}

}  // namespace lathe::cpu
