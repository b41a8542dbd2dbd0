// Products of a few rows with the key-value cache, read in the type in which it is stored. Included
// after lanes_*.h, once per instruction set.
#pragma once

#include "lathe/backend/cpu/kernel_kv_codes.h"

namespace lathe::cpu {
namespace {

// Sums that the registers hold at once: rows × panels.
constexpr int kKvSums = kTokensAtOnce * kPanelsAtOnce;
constexpr int kKvRows = kKvSums < 8 ? kKvSums : 8;

constexpr int panels_beside(int rows) {
  return 4 * rows <= kKvSums ? 4 : 2 * rows <= kKvSums ? 2 : 1;
}

template <KvCode kCode, int kRows, int kPanels>
LANE void kv_sums(const KvTile& t, int64_t panel, const float* x, int64_t ldx, float* y,
                  int64_t ldy, bool accumulate) {
  F sums[kRows][kPanels];
  for (int r = 0; r < kRows; ++r) {
    for (int p = 0; p < kPanels; ++p) {
      sums[r][p] = accumulate ? load(y + r * ldy + 16 * (panel + p)) : zero();
    }
  }
  const uint8_t* data = static_cast<const uint8_t*>(t.data);
  // Keys: the panels after these; values: rows some hundred nanoseconds ahead. Long caches come
  // from memory, and the arithmetic hides that only if it is asked for early.
  const int64_t ahead = t.panel_stride > t.stride ? kPanels * t.panel_stride : 16 * t.stride;
  const auto add_products = [&]<int J>(int64_t k) __attribute__((always_inline)) {
    F w[kPanels];
    for (int p = 0; p < kPanels; ++p) {
      if constexpr (kCode != KvCode::kInt8) {
        prefetch(data + kKvBytes<kCode> * ((panel + p) * t.panel_stride + k * t.stride + ahead));
      } else if constexpr (J == 0) {
        prefetch(data + (panel + p) * t.panel_stride + k / 4 * 64 + ahead);
      }
      w[p] = load_kv<kCode, J>(t, panel + p, k);
    }
    for (int r = 0; r < kRows; ++r) {
      const F v = set1(x[r * ldx + k]);
      for (int p = 0; p < kPanels; ++p) sums[r][p] = fma(w[p], v, sums[r][p]);
    }
  };
  if constexpr (kCode == KvCode::kInt8) {
    int64_t k = 0;
    for (; k + 4 <= t.depth; k += 4) {
      add_products.template operator()<0>(k);
      add_products.template operator()<1>(k + 1);
      add_products.template operator()<2>(k + 2);
      add_products.template operator()<3>(k + 3);
    }
    if (k < t.depth) add_products.template operator()<0>(k);
    if (k + 1 < t.depth) add_products.template operator()<1>(k + 1);
    if (k + 2 < t.depth) add_products.template operator()<2>(k + 2);
  } else {
    for (int64_t k = 0; k < t.depth; ++k) add_products.template operator()<0>(k);
  }
  for (int r = 0; r < kRows; ++r) {
    for (int p = 0; p < kPanels; ++p) {
      F v = sums[r][p];
      if constexpr (kCode == KvCode::kInt8) {
        if (t.lane_scales) v = mul(v, load(t.lane_scales + 16 * (panel + p)));
      }
      store(y + r * ldy + 16 * (panel + p), v);
    }
  }
}

template <KvCode kCode, int kRows>
void kv_rows(const KvTile& t, const float* x, int64_t ldx, float* y, int64_t ldy,
             bool accumulate) noexcept {
  constexpr int kPanels = panels_beside(kRows);
  int64_t panel = 0;
  for (; panel + kPanels <= t.panels; panel += kPanels) {
    kv_sums<kCode, kRows, kPanels>(t, panel, x, ldx, y, ldy, accumulate);
  }
  for (; panel < t.panels; ++panel) {
    kv_sums<kCode, kRows, 1>(t, panel, x, ldx, y, ldy, accumulate);
  }
}

template <KvCode kCode, int kRows>
LANE void kv_rows_of(int64_t rows, const KvTile& t, const float* x, int64_t ldx, float* y,
                     int64_t ldy, bool accumulate) {
  if (rows == kRows) return kv_rows<kCode, kRows>(t, x, ldx, y, ldy, accumulate);
  if constexpr (kRows > 1) {
    kv_rows_of<kCode, kRows - 1>(rows, t, x, ldx, y, ldy, accumulate);
  }
}

template <KvCode kCode>
void kv_product(const KvTile& t, const float* x, int64_t ldx, float* y, int64_t ldy, int64_t rows,
                bool accumulate) noexcept {
  for (int64_t r = 0; r < rows; r += kKvRows) {
    const int64_t left = rows - r < kKvRows ? rows - r : kKvRows;
    kv_rows_of<kCode, kKvRows>(left, t, x + r * ldx, ldx, y + r * ldy, ldy, accumulate);
  }
}

void multiply_kv(const KvTile* tile, const float* x, int64_t ldx, float* y, int64_t ldy,
                 int64_t rows, bool accumulate) noexcept {
  switch (tile->code) {
    case KvCode::kF32:
      return kv_product<KvCode::kF32>(*tile, x, ldx, y, ldy, rows, accumulate);
    case KvCode::kF16:
      return kv_product<KvCode::kF16>(*tile, x, ldx, y, ldy, rows, accumulate);
    case KvCode::kBf16:
      return kv_product<KvCode::kBf16>(*tile, x, ldx, y, ldy, rows, accumulate);
    case KvCode::kInt8:
      return kv_product<KvCode::kInt8>(*tile, x, ldx, y, ldy, rows, accumulate);
  }
}

}  // namespace
}  // namespace lathe::cpu
