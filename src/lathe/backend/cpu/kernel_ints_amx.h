// Packed integer codes times 2 or 3 to 16 tokens with AMX tiles: the same integers as kernel_ints.h
// sums, and the same floats after them, so that results do not depend on the number of tokens.
#pragma once

#include "lathe/backend/cpu/kernel_ints.h"
#include "lathe/backend/cpu/tiles_amx.h"

namespace lathe::cpu {
namespace {

// Below this the lanes are faster: each group costs the tiles a store and a load of their sums. Two
// sequences of the 1.1B shape, tok/s in lanes and tiles: int4:g128 89 and 104, q4_0 79 and 75.
LANE int64_t least_tile_tokens(const PackedView* w) { return w->group < 64 ? 3 : 2; }

// Instead of kAhead: x and tiles take much of the first-level cache, from which lines that are
// asked for too early are gone (int8, 16 tokens: 43 ms at 1.5 kB, 52 at 3).
constexpr int64_t kTileAhead = 1536;
// Up to so many tokens the halves of x are one tile.
constexpr int64_t kJointTokens = 8;

// Tiles 0 and 1: sums of the high half of x for two panels, 2 and 3: of the low half, unless both
// are one tile. 4, 5: the halves of x. 6, 7: weights. In memory two of each: codes are unpacked a
// tile ahead of the products, and sums become floats a block after them, since tiles wait for what
// has just been written.
struct CodeTiles {
  alignas(64) uint8_t weights[2][2][16 * 64];
  alignas(64) int32_t sums[2][4][16 * 16];
};

// `columns` (≤ 64) columns of codes from column k on as rows of signed bytes, four columns a row.
// Each line of codes asks for the one `ahead` bytes on.
template <Codes kCodes, int kHigh, bool kBook>
LANE void unpack(const PackedView* w, int64_t panel, int64_t k, int64_t columns, int64_t ahead,
                 uint8_t* to) {
  constexpr int64_t kColumns = kUnit<kCodes, kHigh>;
  constexpr int kOfVector = kQuadsOfVector<kCodes>;
  const __m512i book =
      _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(w->book)));
  const __m512i code_zero = _mm512_set1_epi8(static_cast<char>(w->code_zero));
  const uint8_t* p = w->data + panel * w->panel_bytes + k / 8 * kStepBytes<kCodes>;
  const uint8_t* panel_high = kHigh > 0 ? w->high + panel * w->high_panel_bytes : nullptr;
  for (int64_t i = 0; i < columns; i += kColumns, p += kColumns / 8 * kStepBytes<kCodes>) {
    const I high = high_bits<kCodes, kHigh>(panel_high, k + i);
    if constexpr (kHigh > 0) {
      prefetch(panel_high + ((k + i) / 8 * kStepBytes<kCodes> + ahead) * kHigh / kLowBits<kCodes>);
    }
    unrolled<kColumns / 4>([&](auto q) UNROLLED {
      constexpr int kQuad = decltype(q)::kIndex;
      const uint8_t* line = p + kQuad / kOfVector * 64;
      __m512i bytes = load_int(line).v;
      if constexpr (kCodes != Codes::kInt8) {
        bytes = unpacked<kCodes, kHigh, false, kQuad>(Bytes16{}, {bytes}, high).v;
        bytes = kBook ? _mm512_shuffle_epi8(book, bytes) : _mm512_sub_epi8(bytes, code_zero);
      }
      if constexpr (kQuad % kOfVector == 0) prefetch(line + ahead);
      _mm512_store_si512(to, bytes);
      to += 64;
    });
  }
}

// A tile's columns: `columns` from `k` on, of block b of group g.
struct TileStep {
  int64_t g, b, k, columns;
  bool first, last, ends_group;  // of its block; the last of its group too

  // The tile that begins at column k of block b of group g.
  LANE_MEMBER static TileStep at(const PackedView* w, const QuantizedView* x, int64_t depth,
                                 int64_t g, int64_t b, int64_t k) {
    const int64_t first = g * w->group + b * x->block;
    const int64_t end = (g + 1) * w->group < w->cols ? (g + 1) * w->group : w->cols;
    const int64_t to = first + x->block < end ? first + x->block : end;
    const int64_t columns = to - k < depth ? (to - k + 7) / 8 * 8 : depth;
    const bool last = k + depth >= to;
    return {g, b, k, columns, k == first, last, last && to == end};
  }
  // The one after it; g is that of no group after the last.
  LANE_MEMBER TileStep next(const PackedView* w, const QuantizedView* x, int64_t depth) const {
    if (!last) return at(w, x, depth, g, b, k + depth);
    if (!ends_group) return at(w, x, depth, g, b + 1, g * w->group + (b + 1) * x->block);
    return at(w, x, depth, g + 1, 0, (g + 1) * w->group);
  }
};

// Sums of tiles to those of one panel.
template <bool kBook>
struct TiledPanel {
  Totals<kBook, kCodeTokens> totals;
  int64_t panel, rows;

  LANE_MEMBER void start(const PackedView* w, int64_t of_panel, const float* bias, int64_t tokens) {
    panel = of_panel;
    rows = rows_of(w, panel);
    totals.start(panel, bias, rows, tokens);
  }
  // The block that ends with `step`. Sums of a group of one block need not be stored first.
  LANE_MEMBER void add(const PackedView* w, const QuantizedView* x, const TileStep& step,
                       const int32_t* high, const int32_t* low) {
    const int64_t tokens = x->tokens, g = step.g;
    const auto joined = [&](int64_t t) UNROLLED {
      return join(load_int(high + t * 16), load_int(low + t * 16));
    };
    if (w->scale_kind != Scales::kSuper && x->blocks == 1) {
      const float* scales = x->scales + g * tokens;
      totals.add_group(w, panel, g, x, 0, tokens, [&](int64_t t) UNROLLED {
        return mul(to_float(joined(t)), set1(scales[t]));
      });
      return;
    }
    for (int64_t t = 0; t < tokens; ++t) totals.add_block(w, joined(t), x, g, step.b, 0, t);
    if (step.ends_group) totals.end_group(w, panel, g, x, 0, tokens);
  }
};

// Products of one tile of codes; what lies behind K in the last one meets zeros of x.
template <bool kJoint, int kPanels>
LANE void tile_products(const QuantizedView* x, const TileStep& step,
                        const uint8_t (&weights)[2][16 * 64]) {
  const int64_t at = step.k / 64 * x->run + step.k % 64;
  TILE_FENCE();
  _tile_loadd(4, x->high + at, 64);
  _tile_loadd(6, weights[0], 64);
  _tile_dpbssd(0, 4, 6);
  if constexpr (kPanels == 2) {
    _tile_loadd(7, weights[1], 64);
    _tile_dpbssd(1, 4, 7);
  }
  if constexpr (!kJoint) {
    _tile_loadd(5, x->low + at, 64);
    _tile_dpbssd(2, 5, 6);
    if constexpr (kPanels == 2) _tile_dpbssd(3, 5, 7);
  }
  TILE_FENCE();
}

template <Codes kCodes, int kHigh, bool kBook, bool kJoint, int kPanels>
void tile_panels(const PackedView* w, const Streams& streams, const QuantizedView* x, int64_t depth,
                 CodeTiles* tiles, const float* bias, float* y, int64_t ldy) noexcept {
  TiledPanel<kBook> panels[kPanels];
  for (int i = 0; i < kPanels; ++i) panels[i].start(w, streams.at(i), bias, x->tokens);
  const auto unpack_step = [&](const TileStep& step, int parity) UNROLLED {
    const int64_t ahead =
        ahead_of<kTileAhead>(step.k / 8 * kStepBytes<kCodes>, w->panel_bytes, streams);
    for (int i = 0; i < kPanels; ++i) {
      unpack<kCodes, kHigh, kBook>(w, streams.at(i), step.k, step.columns, ahead,
                                   tiles->weights[parity][i]);
    }
  };
  const int64_t next_groups = (1 + streams.skip) * w->groups * kPanel;
  const auto finish = [&](const TileStep& step, int parity) UNROLLED {
    for (int i = 0; i < kPanels; ++i) {
      if (step.ends_group) {
        const int64_t at = (streams.at(i) * w->groups + step.g) * kPanel;
        prefetch_scales(w, w->scale_kind, has_offset(w), at, next_groups);
      }
      const int32_t* high = tiles->sums[parity][i];
      const int32_t* low = kJoint ? high + x->tokens * 16 : tiles->sums[parity][2 + i];
      panels[i].add(w, x, step, high, low);
    }
  };
  TileStep step = TileStep::at(w, x, depth, 0, 0, 0), done{};
  int codes = 0, sums = 0;
  unpack_step(step, codes);
  while (step.g < w->groups) {
    const TileStep next = step.next(w, x, depth);
    if (next.g < w->groups) unpack_step(next, 1 - codes);
    if (step.first) {
      _tile_zero(0);
      if constexpr (kPanels == 2) _tile_zero(1);
      if constexpr (!kJoint) _tile_zero(2);
      if constexpr (!kJoint && kPanels == 2) _tile_zero(3);
    }
    tile_products<kJoint, kPanels>(x, step, tiles->weights[codes]);
    codes = 1 - codes;
    if (step.last) {
      _tile_stored(0, tiles->sums[sums][0], 64);
      if constexpr (kPanels == 2) _tile_stored(1, tiles->sums[sums][1], 64);
      if constexpr (!kJoint) _tile_stored(2, tiles->sums[sums][2], 64);
      if constexpr (!kJoint && kPanels == 2) _tile_stored(3, tiles->sums[sums][3], 64);
      TILE_FENCE();
      if (done.last) finish(done, 1 - sums);
      done = step;
      sums = 1 - sums;
    }
    step = next;
  }
  finish(done, 1 - sums);
  for (int i = 0; i < kPanels; ++i) {
    for (int64_t t = 0; t < x->tokens; ++t) {
      store_part(y + t * ldy + panels[i].panel * kPanel, panels[i].totals.total[t], panels[i].rows);
    }
  }
}

template <Codes kCodes, int kHigh, bool kBook, bool kJoint>
void tiles_of(const PackedView* w, int64_t begin, int64_t end, const QuantizedView* x,
              int64_t depth, const float* bias, float* y, int64_t ldy) noexcept {
  CodeTiles tiles;
  __builtin_memset(tiles.weights, 0, sizeof tiles.weights);
  for_streams<2>(w, begin, end, [&]<int kPanels>(const Streams& streams) UNROLLED {
    tile_panels<kCodes, kHigh, kBook, kJoint, kPanels>(w, streams, x, depth, &tiles, bias, y, ldy);
  });
}

void multiply_codes_tiled(const PackedView* w, int64_t begin, int64_t end, const QuantizedView* x,
                          const float* bias, float* y, int64_t ldy) noexcept {
  // A tile stays inside a block of x and inside 64 columns.
  const int64_t depth = w->groups == 1 || w->group % 64 == 0 ? 64 : w->group % 32 == 0 ? 32 : 16;
  const bool fits = w->groups == 1 || w->group % 16 == 0;
  if (x->tokens < least_tile_tokens(w) || !fits) {
    return multiply_codes(w, begin, end, x, bias, y, ldy);
  }
  const bool joint = x->tokens <= kJointTokens;
  TileConfig config;
  for (int i = 0; i < 6; ++i) {
    config.rows[i] = static_cast<uint8_t>(joint ? 2 * x->tokens : x->tokens);
    if (i >= 4) config.row_bytes[i] = static_cast<uint16_t>(depth);
  }
  for (int i = 6; i < 8; ++i) config.rows[i] = static_cast<uint8_t>(depth / 4);
  TILE_FENCE();
  _tile_loadconfig(&config);
  for_kind_of_codes(w, [&]<Codes kCodes, int kHigh, bool kBook>() {
    if (joint) {
      tiles_of<kCodes, kHigh, kBook, true>(w, begin, end, x, depth, bias, y, ldy);
    } else {
      tiles_of<kCodes, kHigh, kBook, false>(w, begin, end, x, depth, bias, y, ldy);
    }
  });
  _tile_release();
}

}  // namespace
}  // namespace lathe::cpu
