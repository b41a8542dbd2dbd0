// Sparse panels to dense ones: the codes that there are, spread out under their masks. Included
// after lanes_sparse_*.h, once per instruction set.
#pragma once

#include "lathe/backend/cpu/kernels.h"

namespace lathe::cpu {
namespace {

// The code that stands for 0 in each byte of a vector of 16 rows.
LANE void fill_zero_codes(const PackedView* w, int64_t panel, int64_t k, uint8_t* fill) {
  if (!w->zeros) {
    for (int i = 0; i < 64; ++i) fill[i] = static_cast<uint8_t>(w->zero_code);
    return;
  }
  const uint8_t* zeros = w->zeros + (panel * w->groups + k / w->group) * kPanel;
  for (int i = 0; i < 64; ++i) fill[i] = zeros[i / 4];
}

void expand(const PackedView* w, int64_t panel, int64_t begin, int64_t end,
            uint8_t* codes) noexcept {
  const uint8_t* p = w->data + w->starts[panel * w->chunks + begin / kSparseChunk];
  const uint64_t* masks = w->masks + panel * w->units;
  const int64_t first = begin / kSparseUnit, last = (end + 7) / 8 * 2;
  if (w->codes == Codes::kInt8) {
    for (int64_t u = first; u < last; ++u) {
      spread_bytes(masks[u], p, codes + u * 64);
      p += __builtin_popcountll(masks[u]);
    }
    return;
  }
  if (w->codes != Codes::kInt4) {  // f16, bf16
    for (int64_t u = first; u < last; ++u) {
      for (int half = 0; half < 2; ++half) {
        const auto mask = static_cast<uint32_t>(masks[u] >> (32 * half));
        spread_words(mask, p, codes + u * 128 + half * 64);
        p += 2 * __builtin_popcount(mask);
      }
    }
    return;
  }
  alignas(64) uint8_t fill[64];
  const int64_t group = w->zeros ? w->group : w->cols;
  for (int64_t u = first; u < last;) {
    const int64_t k = u * kSparseUnit;
    fill_zero_codes(w, panel, k, fill);
    const int64_t stop = (k / group + 1) * group / kSparseUnit;
    // The last group of a row may end within a step of 8 columns, which lie behind the end.
    for (const int64_t until = stop < last && stop > u ? stop : last; u < until; u += 2) {
      spread_nibbles(masks[u], masks[u + 1], p, fill, codes + u * 32);
      p += (__builtin_popcountll(masks[u]) + 1) / 2 + (__builtin_popcountll(masks[u + 1]) + 1) / 2;
    }
  }
}

}  // namespace
}  // namespace lathe::cpu
