// Weights and activations to BF16 tiles (Bf16Product) with AVX-512, and results out of them.
#pragma once

#include "lathe/backend/cpu/kernel_codes.h"
#include "lathe/backend/cpu/lanes_codes_avx512.h"

namespace lathe::cpu {
namespace {

// ---- weights ----------------------------------------------------------------------------------

// One dword per lane: `low` and `high` rounded to BF16. Integer additions cost half of what the
// conversion instructions do together with putting the halves next to each other.
LANE I pair_of(const F& low, const F& high) {
  const __m512i half = _mm512_set1_epi32(0x8000);
  const __m512i a = _mm512_add_epi32(_mm512_castps_si512(low.v), half);
  const __m512i b = _mm512_add_epi32(_mm512_castps_si512(high.v), half);
  const __m512i mask = _mm512_set1_epi32(static_cast<int>(0xffff0000u));
  // (mask & b) | (~mask & a >> 16)
  return {_mm512_ternarylogic_epi32(mask, b, _mm512_srli_epi32(a, 16), 0xca)};
}

template <bool kScaled, bool kOffset>
struct PairWriter {
  uint32_t* to;
  F scale, offset, even;

  template <int J>
  LANE_MEMBER void at(const F& weights) {
    F v = weights;
    if constexpr (kOffset) {
      v = fma(scale, v, offset);
    } else if constexpr (kScaled) {
      v = mul(scale, v);
    }
    if constexpr (J % 2 == 0) {
      even = v;
    } else {
      _mm512_storeu_si512(to + J / 2 * kPanel, pair_of(even, v).v);
    }
  }
};

template <Codes kCodes, int kHigh, bool kScaled, bool kOffset>
void bf16_of(const PackedView* w, int64_t panel, int64_t begin, int64_t end,
             uint32_t* tiles) noexcept {
  const Tables tables{load_table(w->table), load_table(w->high_table)};
  const uint8_t* data = w->data + panel * w->panel_bytes;
  const uint8_t* high = kHigh > 0 ? w->high + panel * w->high_panel_bytes : nullptr;
  PairWriter<kScaled, kOffset> writer{};
  writer.to = tiles;
  for (int64_t g = begin / w->group; g * w->group < end; ++g) {
    const int64_t first_column = g * w->group > begin ? g * w->group : begin;
    const int64_t last = (g + 1) * w->group < end ? (g + 1) * w->group : end;
    if constexpr (kScaled) writer.scale = group_scale(w, panel, g);
    if constexpr (kOffset) writer.offset = group_offset(w, panel, g, writer.scale);
    for (int64_t k = first_column; k < last; k += 8, writer.to += 4 * kPanel) {
      step<kCodes, kHigh>(tables, data + k / 8 * kStepBytes<kCodes>, high, k, writer);
    }
  }
  uint32_t* tiles_end = tiles + (end - begin + kTileDepth - 1) / kTileDepth * 256;
  for (; writer.to < tiles_end; writer.to += kPanel) {
    _mm512_storeu_si512(writer.to, _mm512_setzero_si512());
  }
}

template <Codes kCodes, int kHigh>
void bf16_codes(const PackedView* w, int64_t panel, int64_t begin, int64_t end,
                uint32_t* tiles) noexcept {
  if (has_offset(w)) return bf16_of<kCodes, kHigh, true, true>(w, panel, begin, end, tiles);
  bf16_of<kCodes, kHigh, true, false>(w, panel, begin, end, tiles);
}

void decode_bf16(const PackedView* w, int64_t panel, int64_t begin, int64_t end,
                 uint32_t* tiles) noexcept {
  switch (w->codes) {
    case Codes::kF32:
      return bf16_of<Codes::kF32, 0, false, false>(w, panel, begin, end, tiles);
    case Codes::kF16:
      return bf16_of<Codes::kF16, 0, false, false>(w, panel, begin, end, tiles);
    case Codes::kBf16:
      return bf16_of<Codes::kBf16, 0, false, false>(w, panel, begin, end, tiles);
    case Codes::kInt8:
      return bf16_codes<Codes::kInt8, 0>(w, panel, begin, end, tiles);
    case Codes::kInt2:
      if (w->high_bits == 1) return bf16_codes<Codes::kInt2, 1>(w, panel, begin, end, tiles);
      return bf16_codes<Codes::kInt2, 0>(w, panel, begin, end, tiles);
    case Codes::kInt4:
      break;
  }
  if (w->high_bits == 1) return bf16_codes<Codes::kInt4, 1>(w, panel, begin, end, tiles);
  if (w->high_bits == 2) return bf16_codes<Codes::kInt4, 2>(w, panel, begin, end, tiles);
  bf16_codes<Codes::kInt4, 0>(w, panel, begin, end, tiles);
}

// ---- activations ------------------------------------------------------------------------------

void round_bf16(const float* x, int64_t ldx, int64_t tokens, int64_t cols,
                uint16_t* block) noexcept {
  for (int64_t k = 0; k < cols; k += kTileDepth, block += kTileTokens * kTileDepth) {
    const int64_t left = cols - k;
    for (int64_t t = 0; t < kTileTokens; ++t) {
      F a = zero(), b = zero();
      if (t < tokens && left >= kTileDepth) {
        a = load(x + t * ldx + k);
        b = load(x + t * ldx + k + kPanel);
      } else if (t < tokens) {
        a = load_part(x + t * ldx + k, left < kPanel ? left : kPanel);
        if (left > kPanel) b = load_part(x + t * ldx + k + kPanel, left - kPanel);
      }
      _mm512_storeu_si512(block + t * kTileDepth, (__m512i)_mm512_cvtne2ps_pbh(b.v, a.v));
    }
  }
}

// ---- results ----------------------------------------------------------------------------------

// Sums of one token and panel, complete: to y, with the bias.
LANE void finish(const Bf16Product* p, int64_t token, int64_t panel, F sums) {
  if (token >= p->tokens) return;
  const int64_t at = panel * kPanel, rows = p->rows - at;
  float* y = p->y + token * p->ldy + at;
  if (rows >= kPanel) {
    store(y, p->bias ? add(sums, load(p->bias + at)) : sums);
  } else {
    store_part(y, p->bias ? add(sums, load_part(p->bias + at, rows)) : sums, rows);
  }
}

}  // namespace
}  // namespace lathe::cpu
