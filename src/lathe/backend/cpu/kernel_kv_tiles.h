// Products of many rows with a cache of floats in AMX tiles. Each float of both sides is the sum of
// two BF16, of whose four products the smallest is left out, so that 16 bits of each count.
#pragma once

#include "lathe/backend/cpu/kernel_bf16_avx512.h"
#include "lathe/backend/cpu/kernel_kv_codes.h"
#include "lathe/backend/cpu/tiles_amx.h"

namespace lathe::cpu {
namespace {

// A tile of the high parts, then one of the low ones.
constexpr int64_t kSplitDwords = 512;

LANE F high_part(const F& v) {
  const __m512i raised = _mm512_add_epi32(_mm512_castps_si512(v.v), _mm512_set1_epi32(0x8000));
  const __m512i mask = _mm512_set1_epi32(static_cast<int>(0xffff0000u));
  return {_mm512_castsi512_ps(_mm512_and_si512(raised, mask))};
}

// Elements [k, k + 32) of 16 lanes: dword i of a lane is elements k + 2i and k + 2i + 1. Zeros
// behind the last element.
template <KvCode kCode>
void split_lanes(const KvTile& t, int64_t panel, int64_t k, uint32_t* to) {
  for (int64_t i = 0; i < kTileDepth / 2; ++i, k += 2, to += kPanel) {
    const F a = k < t.depth ? load_kv<kCode, 0>(t, panel, k) : zero();
    const F b = k + 1 < t.depth ? load_kv<kCode, 0>(t, panel, k + 1) : zero();
    const F a_high = high_part(a), b_high = high_part(b);
    _mm512_store_si512(to, pair_of(a_high, b_high).v);
    _mm512_store_si512(to + kSplitDwords / 2, pair_of(sub(a, a_high), sub(b, b_high)).v);
  }
}

// Elements [0, n ≤ 32) of up to 16 rows of x, zeros behind.
void split_rows(const float* x, int64_t ldx, int64_t rows, int64_t n, uint32_t* to) {
  for (int64_t r = 0; r < kTileTokens; ++r, to += kPanel) {
    F a = zero(), b = zero();
    if (r < rows) {
      a = n >= kPanel ? load(x + r * ldx) : load_part(x + r * ldx, n);
      if (n > kPanel) b = load_part(x + r * ldx + kPanel, n - kPanel);
    }
    const F a_high = high_part(a), b_high = high_part(b);
    _mm512_store_si512(to, (__m512i)_mm512_cvtne2ps_pbh(b_high.v, a_high.v));
    _mm512_store_si512(to + kSplitDwords / 2,
                       (__m512i)_mm512_cvtne2ps_pbh(sub(b, b_high).v, sub(a, a_high).v));
  }
}

// One product of each pair of tiles; those of the lanes are loaded, or still there.
template <int kBlocks, int kPanels, bool kLoadLanes>
LANE void add_tiles(const uint32_t* x, const uint32_t* x1, const uint32_t* lanes,
                    const uint32_t* lanes1) {
  _tile_loadd(4, x, 64);
  if constexpr (kLoadLanes) _tile_loadd(6, lanes, 64);
  _tile_dpbf16ps(0, 4, 6);
  if constexpr (kLoadLanes && kPanels == 2) _tile_loadd(7, lanes1, 64);
  if constexpr (kPanels == 2) _tile_dpbf16ps(1, 4, 7);
  if constexpr (kBlocks == 2) _tile_loadd(5, x1, 64);
  if constexpr (kBlocks == 2) _tile_dpbf16ps(2, 5, 6);
  if constexpr (kBlocks == 2 && kPanels == 2) _tile_dpbf16ps(3, 5, 7);
}

// Sums of kBlocks × 16 rows and kPanels × 16 lanes: [block][panel][16][16]. Tiles as in
// multiply_bf16().
template <int kBlocks, int kPanels, bool kLowLanes>
void multiply_split(const uint32_t* x, const uint32_t* lanes, int64_t steps, float* sums) {
  constexpr int64_t kLow = kSplitDwords / 2;
  const uint32_t *x1 = x + steps * kSplitDwords, *lanes1 = lanes + steps * kSplitDwords;
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (int64_t k = 0; k < steps * kSplitDwords; k += kSplitDwords) {
    add_tiles<kBlocks, kPanels, true>(x + k, x1 + k, lanes + k, lanes1 + k);
    add_tiles<kBlocks, kPanels, false>(x + k + kLow, x1 + k + kLow, nullptr, nullptr);
    if constexpr (kLowLanes) {
      add_tiles<kBlocks, kPanels, true>(x + k, x1 + k, lanes + k + kLow, lanes1 + k + kLow);
    }
  }
  _tile_stored(0, sums, 64);
  if constexpr (kPanels == 2) _tile_stored(1, sums + 256, 64);
  if constexpr (kBlocks == 2) _tile_stored(2, sums + 512, 64);
  if constexpr (kBlocks == 2 && kPanels == 2) _tile_stored(3, sums + 768, 64);
  TILE_FENCE();
}

template <KvCode kCode>
void kv_tiles(const KvTile& t, const float* x, int64_t ldx, float* y, int64_t ldy, int64_t rows,
              bool accumulate, uint32_t* memory) {
  constexpr bool kLowLanes = kCode != KvCode::kBf16;
  const int64_t steps = (t.depth + kTileDepth - 1) / kTileDepth;
  const int64_t blocks = (rows + kTileTokens - 1) / kTileTokens;
  uint32_t *x_tiles = memory, *lanes = memory + blocks * steps * kSplitDwords;
  for (int64_t block = 0; block < blocks; ++block) {
    for (int64_t k = 0; k < steps; ++k) {
      const int64_t r = block * kTileTokens, left = t.depth - k * kTileDepth;
      split_rows(x + r * ldx + k * kTileDepth, ldx, rows - r, left < kTileDepth ? left : kTileDepth,
                 x_tiles + (block * steps + k) * kSplitDwords);
    }
  }
  alignas(64) float sums[1024];
  for (int64_t panel = 0; panel < t.panels; panel += 2) {
    const int64_t panels = t.panels - panel < 2 ? 1 : 2;
    for (int64_t p = 0; p < panels; ++p) {
      for (int64_t k = 0; k < steps; ++k) {
        split_lanes<kCode>(t, panel + p, k * kTileDepth, lanes + (p * steps + k) * kSplitDwords);
      }
    }
    TILE_FENCE();
    for (int64_t block = 0; block < blocks; block += 2) {
      const uint32_t* at = x_tiles + block * steps * kSplitDwords;
      const bool two = block + 1 < blocks;
      if (two && panels == 2) multiply_split<2, 2, kLowLanes>(at, lanes, steps, sums);
      if (two && panels == 1) multiply_split<2, 1, kLowLanes>(at, lanes, steps, sums);
      if (!two && panels == 2) multiply_split<1, 2, kLowLanes>(at, lanes, steps, sums);
      if (!two && panels == 1) multiply_split<1, 1, kLowLanes>(at, lanes, steps, sums);
      const int64_t r0 = block * kTileTokens, left = rows - r0, n = left < 32 ? left : 32;
      for (int64_t r = 0; r < n; ++r) {
        for (int64_t p = 0; p < panels; ++p) {
          float* to = y + (r0 + r) * ldy + (panel + p) * kPanel;
          const F v = load(sums + r / 16 * 512 + p * 256 + r % 16 * kPanel);
          store(to, accumulate ? add(load(to), v) : v);
        }
      }
    }
  }
}

void multiply_kv_tiles(const KvTile* t, const float* x, int64_t ldx, float* y, int64_t ldy,
                       int64_t rows, bool accumulate, uint32_t* memory) noexcept {
  TILE_FENCE();
  _tile_loadconfig(&kWholeTiles);
  if (t->code == KvCode::kF32) {
    kv_tiles<KvCode::kF32>(*t, x, ldx, y, ldy, rows, accumulate, memory);
  } else if (t->code == KvCode::kF16) {
    kv_tiles<KvCode::kF16>(*t, x, ldx, y, ldy, rows, accumulate, memory);
  } else {
    kv_tiles<KvCode::kBf16>(*t, x, ldx, y, ldy, rows, accumulate, memory);
  }
  _tile_release();
}

}  // namespace
}  // namespace lathe::cpu
