// Packed integer codes times 3 to 16 tokens with AMX tiles: the same integers as kernel_ints.h
// sums, and the same floats after them, so that results do not depend on the number of tokens.
#pragma once

#include "lathe/backend/cpu/kernel_ints.h"
#include "lathe/backend/cpu/tiles_amx.h"

namespace lathe::cpu {
namespace {

// Below this the lanes are faster: a tile product of few rows waits for its weights.
constexpr int64_t kTileTokensLeast = 3;

// Tiles 0–3: sums of the high and the low halves of x, for two panels. 4, 5: the halves of x. 6, 7:
// weights.
struct CodeTile {
  alignas(64) uint8_t weights[2][16 * 64];
  alignas(64) int32_t sums[4][16 * 16];
};

// `columns` (≤ 64) columns of codes at `p` as rows of signed bytes, four columns a row.
template <Codes kCodes, int kHigh, bool kBook, int Q>
LANE void signed_rows(const __m512i& book, const __m512i& code_zero, const uint8_t* p,
                      const I& high, uint8_t* to) {
  if constexpr (Q < kUnit<kCodes, kHigh> / 4) {
    __m512i bytes;
    if constexpr (kCodes == Codes::kInt8) {
      prefetch(p + kAhead + Q * 64);
      bytes = load_int(p + Q * 64).v;
    } else {
      bytes = bytes_of<kCodes, kHigh, false, Q>({book}, p, high).v;
      bytes = kBook ? _mm512_shuffle_epi8(book, bytes) : _mm512_sub_epi8(bytes, code_zero);
    }
    _mm512_store_si512(to + Q * 64, bytes);
    signed_rows<kCodes, kHigh, kBook, Q + 1>(book, code_zero, p, high, to);
  }
}

template <Codes kCodes, int kHigh, bool kBook>
LANE void unpack(const PackedView* w, int64_t panel, int64_t k, int64_t columns, uint8_t* to) {
  const __m512i book =
      _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(w->book)));
  const __m512i code_zero = _mm512_set1_epi8(static_cast<char>(w->code_zero));
  constexpr int64_t kColumns = kUnit<kCodes, kHigh>;
  const uint8_t* p = w->data + panel * w->panel_bytes + k / 8 * kStepBytes<kCodes>;
  for (int64_t i = 0; i < columns; i += kColumns, p += kColumns / 8 * kStepBytes<kCodes>) {
    I high{};
    if constexpr (kHigh > 0) {
      constexpr int64_t kOfVector = 32 / kHigh;
      high = load_int(w->high + panel * w->high_panel_bytes + (k + i) / kOfVector * 64);
      if constexpr (kOfVector > kColumns) {
        high = shift_right(high, static_cast<int>((k + i) % kOfVector / 4) * kHigh);
      }
    }
    signed_rows<kCodes, kHigh, kBook, 0>(book, code_zero, p, high, to + i / 4 * 64);
  }
}

// The products of one block of x; what lies behind K in the last tile meets zeros of x.
template <Codes kCodes, int kHigh, bool kBook, int kPanels>
LANE void tile_sums(const PackedView* w, int64_t panel, const QuantizedView* x, int64_t from,
                    int64_t to, int64_t depth, CodeTile* tile) {
  for (int i = 0; i < 2 * kPanels; ++i) {
    if (i == 0) _tile_zero(0);
    if (i == 1) _tile_zero(1);
    if (i == 2) _tile_zero(2);
    if (i == 3) _tile_zero(3);
  }
  for (int64_t k = from; k < to; k += depth) {
    const int64_t columns = to - k < depth ? (to - k + 7) / 8 * 8 : depth;
    for (int i = 0; i < kPanels; ++i) {
      unpack<kCodes, kHigh, kBook>(w, panel + i, k, columns, tile->weights[i]);
    }
    TILE_FENCE();
    const int64_t at = k / 64 * x->tokens * 64 + k % 64;
    _tile_loadd(4, x->high + at, 64);
    _tile_loadd(5, x->low + at, 64);
    _tile_loadd(6, tile->weights[0], 64);
    _tile_dpbssd(0, 4, 6);
    _tile_dpbssd(1, 5, 6);
    if constexpr (kPanels == 2) {
      _tile_loadd(7, tile->weights[1], 64);
      _tile_dpbssd(2, 4, 7);
      _tile_dpbssd(3, 5, 7);
    }
    TILE_FENCE();
  }
  _tile_stored(0, tile->sums[0], 64);
  _tile_stored(1, tile->sums[1], 64);
  if constexpr (kPanels == 2) {
    _tile_stored(2, tile->sums[2], 64);
    _tile_stored(3, tile->sums[3], 64);
  }
  TILE_FENCE();
}

template <Codes kCodes, int kHigh, bool kBook, int kPanels>
void tile_panels(const PackedView* w, int64_t panel, const QuantizedView* x, int64_t depth,
                 CodeTile* tile, const float* bias, float* y, int64_t ldy) noexcept {
  const int64_t tokens = x->tokens;
  Totals<kBook, kCodeTokens> totals[kPanels];
  int64_t rows[kPanels];
  for (int i = 0; i < kPanels; ++i) {
    rows[i] = rows_of(w, panel + i);
    totals[i].start(panel + i, bias, rows[i], tokens);
  }
  for (int64_t g = 0; g < w->groups; ++g) {
    const int64_t first_column = g * w->group;
    const int64_t last = first_column + w->group < w->cols ? first_column + w->group : w->cols;
    for (int64_t b = 0; b < x->blocks; ++b) {
      const int64_t from = first_column + b * x->block;
      const int64_t to = from + x->block < last ? from + x->block : last;
      tile_sums<kCodes, kHigh, kBook, kPanels>(w, panel, x, from, to, depth, tile);
      for (int i = 0; i < kPanels; ++i) {
        for (int64_t t = 0; t < tokens; ++t) {
          const I joined =
              join(load_int(tile->sums[2 * i] + t * 16), load_int(tile->sums[2 * i + 1] + t * 16));
          totals[i].add_block(w, joined, x, g, b, 0, t);
        }
      }
    }
    for (int i = 0; i < kPanels; ++i) totals[i].end_group(w, panel + i, g, x, 0, tokens);
  }
  for (int i = 0; i < kPanels; ++i) {
    for (int64_t t = 0; t < tokens; ++t) {
      store_part(y + t * ldy + (panel + i) * kPanel, totals[i].total[t], rows[i]);
    }
  }
}

template <Codes kCodes, int kHigh, bool kBook>
void tiles_of(const PackedView* w, int64_t begin, int64_t end, const QuantizedView* x,
              int64_t depth, const float* bias, float* y, int64_t ldy) noexcept {
  CodeTile tile;
  for (int i = 0; i < 2; ++i) __builtin_memset(tile.weights[i], 0, sizeof tile.weights[i]);
  int64_t panel = begin;
  for (; panel + 2 <= end; panel += 2) {
    tile_panels<kCodes, kHigh, kBook, 2>(w, panel, x, depth, &tile, bias, y, ldy);
  }
  if (panel < end) {
    tile_panels<kCodes, kHigh, kBook, 1>(w, panel, x, depth, &tile, bias, y, ldy);
  }
}

void multiply_codes_tiled(const PackedView* w, int64_t begin, int64_t end, const QuantizedView* x,
                          const float* bias, float* y, int64_t ldy) noexcept {
  // A tile stays inside a block of x and inside 64 columns.
  const int64_t depth = w->groups == 1 || w->group % 64 == 0 ? 64 : w->group % 32 == 0 ? 32 : 16;
  const bool fits = w->groups == 1 || w->group % 16 == 0;
  if (x->tokens < kTileTokensLeast || !fits) {
    return multiply_codes(w, begin, end, x, bias, y, ldy);
  }
  TileConfig config;
  for (int i = 0; i < 4; ++i) config.rows[i] = static_cast<uint8_t>(x->tokens);
  for (int i = 4; i < 6; ++i) {
    config.rows[i] = static_cast<uint8_t>(x->tokens);
    config.row_bytes[i] = static_cast<uint16_t>(depth);
  }
  for (int i = 6; i < 8; ++i) config.rows[i] = static_cast<uint8_t>(depth / 4);
  TILE_FENCE();
  _tile_loadconfig(&config);
  for_kind_of_codes(w, [&]<Codes kCodes, int kHigh, bool kBook>() {
    tiles_of<kCodes, kHigh, kBook>(w, begin, end, x, depth, bias, y, ldy);
  });
  _tile_release();
}

}  // namespace
}  // namespace lathe::cpu
