#include "lathe/backend/cpu/quantized.h"

#include <algorithm>
#include <cstring>

#include "lathe/base/check.h"

namespace lathe::cpu {

namespace {

struct Sizes {
  int64_t columns, groups, block, blocks, codes, scales, sums;
  Sizes(int64_t tokens, int64_t cols, const QuantizedGroups& g)
      : columns((cols + 63) / 64 * 64),
        groups((cols + g.columns - 1) / g.columns),
        block(std::min(g.columns, kQuantBlock)),
        blocks((g.columns + block - 1) / block),
        codes(tokens * columns),
        scales(tokens * groups / g.span * blocks),
        sums(tokens * groups) {}
  int64_t bytes() const { return 2 * codes + 4 * (scales + sums * blocks + sums); }
};

}  // namespace

QuantizedGroups groups_for(const PackedView& weights) {
  const bool shared = weights.scale_kind == Scales::kSuper;
  return {weights.group, shared ? weights.groups_per_super : 1};
}

int64_t quantized_bytes(int64_t tokens, int64_t cols, const QuantizedGroups& groups) {
  return Sizes(tokens, cols, groups).bytes();
}

void place_quantized(int64_t tokens, int64_t cols, const QuantizedGroups& groups, uint8_t* memory,
                     QuantizedView* q) {
  const Sizes sizes(tokens, cols, groups);
  LATHE_CHECK(sizes.groups % groups.span == 0);
  std::memset(memory, 0, static_cast<size_t>(sizes.bytes()));
  q->tokens = tokens;
  q->cols = cols;
  q->columns = sizes.columns;
  q->group = groups.columns;
  q->groups = sizes.groups;
  q->block = sizes.block;
  q->blocks = sizes.blocks;
  q->span = groups.span;
  q->high = reinterpret_cast<int8_t*>(memory);
  q->low = q->high + (tokens == 1 ? sizes.codes : tokens * 64);
  q->run = tokens == 1 ? 64 : 2 * tokens * 64;
  auto* floats = reinterpret_cast<float*>(memory + 2 * sizes.codes);
  q->scales = floats;
  q->code_sums = reinterpret_cast<int32_t*>(floats + sizes.scales);
  q->sums = floats + sizes.scales + sizes.sums * sizes.blocks;
}

const QuantizedView* QuantizedInputs::of(const FastKernels& fast, ThreadPool& pool,
                                         const PackedView& weights) {
  const QuantizedGroups groups = groups_for(weights);
  for (const auto& e : entries_) {
    if (QuantizedGroups{e->view.group, e->view.span} == groups) return &e->view;
  }
  auto entry = std::make_unique<Entry>();
  QuantizedView& q = entry->view;
  const int64_t bytes = quantized_bytes(x_.rows(), x_.cols(), groups);
  entry->memory = std::make_unique_for_overwrite<uint8_t[]>(static_cast<size_t>(bytes + 64));
  uint8_t* p = entry->memory.get();
  p += (64 - reinterpret_cast<uintptr_t>(p) % 64) % 64;
  place_quantized(x_.rows(), x_.cols(), groups, p, &q);
  LATHE_CHECK(q.groups == weights.groups);
  pool.parallel_for(q.tokens, 1, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) fast.quantize(x_.row(t), t, &q);
  });
  entries_.push_back(std::move(entry));
  return &entries_.back()->view;
}

}  // namespace lathe::cpu
