// Products of a few rows with the key-value cache, read in the type in which it is stored. Included
// after lanes_*.h, once per instruction set.
#pragma once

#include "lathe/backend/cpu/kernels.h"

namespace lathe::cpu {
namespace {

LANE F load_bf16(const void* p) {
#if defined(__AVX512F__)
  const __m256i half = _mm256_loadu_si256(static_cast<const __m256i*>(p));
  return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16))};
#elif defined(__AVX2__)
  const __m128i* halves = static_cast<const __m128i*>(p);
  const __m256i a = _mm256_cvtepu16_epi32(_mm_loadu_si128(halves));
  const __m256i b = _mm256_cvtepu16_epi32(_mm_loadu_si128(halves + 1));
  return {_mm256_castsi256_ps(_mm256_slli_epi32(a, 16)),
          _mm256_castsi256_ps(_mm256_slli_epi32(b, 16))};
#else
  uint16_t half[16];
  __builtin_memcpy(half, p, sizeof(half));
  float x[16];
  for (int i = 0; i < 16; ++i) {
    const uint32_t bits = static_cast<uint32_t>(half[i]) << 16;
    __builtin_memcpy(&x[i], &bits, 4);
  }
  return load(x);
#endif
}

template <KvCode kCode>
constexpr int64_t kKvBytes = kCode == KvCode::kF32    ? 4
                             : kCode == KvCode::kInt8 ? 1
                                                      : 2;

// Elements k of 16 lanes; J = k % 4 (int8 only).
template <KvCode kCode, int J>
LANE F load_kv(const KvTile& t, int64_t panel, int64_t k) {
  const uint8_t* data = static_cast<const uint8_t*>(t.data);
  const int64_t first = panel * t.panel_stride;
  if constexpr (kCode == KvCode::kInt8) {
    const F w = byte_of<J>(load_int(data + first + k / 4 * 64));
    return t.depth_scales ? mul(w, set1(t.depth_scales[k])) : w;
  } else {
    const uint8_t* p = data + kKvBytes<kCode> * (first + k * t.stride);
    if constexpr (kCode == KvCode::kF32) return load(reinterpret_cast<const float*>(p));
    if constexpr (kCode == KvCode::kF16) return load_f16(p);
    return load_bf16(p);
  }
}

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
