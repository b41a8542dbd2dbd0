// Attention of a few queries over an int8 cache in integers: queries and weights of values as two
// bytes each (15 bits), exact products, one scale per query, and per row and block of positions.
// Included after kernel_ints.h and kernel_math.h, once per instruction set; Product multiplies.
#pragma once

#include "lathe/backend/cpu/kernel_ints.h"
#include "lathe/backend/cpu/kernel_math.h"

namespace lathe::cpu {
namespace {

// One tile of the left side: 16 rows of 64 bytes. Row r < kKvQueries is the high half of row r of
// the floats, row kKvQueries + r the low one.
constexpr int64_t kHalves = 2 * kKvQueries;
constexpr int64_t kSideBytes = kHalves * 64;
constexpr int64_t kKvPanels = 4;  // of 16 positions or components, multiplied at once

// sums[panel][row of the tile][lane] = Σ over `steps` tiles of `side` with the codes at
// codes + step · step_bytes + panel · panel_bytes, [columns/4][16][4] each.
struct KvProduct {
  const int8_t* side;
  const int32_t* side_sums;  // [2·kKvQueries]: Σ over each row
  int64_t steps, rows;       // rows: of each half
  const int8_t* codes;
  int64_t step_bytes, panel_bytes, panels;
  int64_t columns;  // those that `side` has; tiles may read what lies behind and meet zeros
};
using KvSums = int32_t[kHalves][kPanel];

// Lines of the next block's keys, then of its values, asked for one at a time between all other
// work of a block, so that memory never rests; many at once would wait for each other.
struct Stream {
  const int8_t* next;
  int64_t left;  // before what is next is `then`
  const int8_t* then;
  int64_t rate;  // lines of one call
  LANE_MEMBER void fetch(int64_t times = 1) {
    for (int64_t i = 0; i < rate * times; ++i) {
      prefetch_far(next);
      next += 64;
      if (--left == 0) next = then;
    }
  }
};
// Calls for each tile of codes: with eight rows of 64 components a call is one line of a block, and
// an eighth of them stands between the tiles of either product.
constexpr int64_t kTileCalls = 4;

// In lanes, four rows at once where registers allow it.
struct LaneProduct {
  static constexpr bool kRaised = kSignedZero != 0;
  // What the raised codes are too large by. Unsigned: with a NaN the sum may be any integer.
  static LANE_MEMBER I raised(int32_t sum) {
    return set1_int(
        static_cast<int32_t>(0u - static_cast<uint32_t>(kSignedZero) * static_cast<uint32_t>(sum)));
  }
  template <int kTokens>
  static LANE_MEMBER void some(const KvProduct& p, int64_t panel, int64_t first, KvSums* sums) {
    CodeSums<Codes::kInt8, false, kTokens> s;
    for (int t = 0; t < kTokens; ++t) {
      s.high[t][0] = raised(p.side_sums[first + t]);
      s.low[t][0] = raised(p.side_sums[kKvQueries + first + t]);
      s.high[t][1] = s.low[t][1] = zero_int();
    }
    for (int64_t step = 0; step < p.steps; ++step) {
      const auto* codes =
          reinterpret_cast<const uint8_t*>(p.codes) + step * p.step_bytes + panel * p.panel_bytes;
      const int8_t* highs = p.side + step * kSideBytes + first * 64;
      const int8_t* lows = highs + kKvQueries * 64;
      const int64_t columns = p.columns - step * 64 < 64 ? p.columns - step * 64 : 64;
      for (int64_t k = 0; k < columns; k += 8, codes += 128, highs += 8, lows += 8) {
        quads<Codes::kInt8, 0, false, 0, 2>(Bytes16{}, codes, zero_int(), highs, lows, s);
      }
    }
    for (int t = 0; t < kTokens; ++t) {
      store_int(sums[panel][first + t], add_int(s.high[t][0], s.high[t][1]));
      store_int(sums[panel][kKvQueries + first + t], add_int(s.low[t][0], s.low[t][1]));
    }
  }
  static LANE_MEMBER void multiply(const KvProduct& p, KvSums* sums, Stream& stream) {
    for (int64_t panel = 0; panel < p.panels; ++panel) {
      stream.fetch(kTileCalls * p.steps);
      int64_t r = 0;
      for (; r + kCodeTokensAtOnce <= p.rows; r += kCodeTokensAtOnce) {
        some<kCodeTokensAtOnce>(p, panel, r, sums);
      }
      for (; r < p.rows; ++r) some<1>(p, panel, r, sums);
    }
  }
};

// Of 16 lanes, those below n.
LANE int64_t part(int64_t n) { return n < 0 ? 0 : n > kPanel ? kPanel : n; }

// Rows of one slice and what carries over from block to block.
struct KvSlice {
  const int8_t* side;   // the queries
  const int32_t* sums;  // [2·kKvQueries] of them
  const float* scales;  // [rows], times that of the softmax
  const int64_t *lowest, *highest;
  float *maxima, *totals, *values;
  int64_t rows;
};

struct KvMemory {
  alignas(64) KvSums sums[kKvBlock / kPanel];
  alignas(64) float scores[kKvQueries][kKvBlock];
  alignas(64) int8_t weights[kKvBlock / kKvRun][kSideBytes];
  int32_t weight_sums[kHalves];
  int64_t from[kKvQueries], to[kKvQueries];  // what of the block each row sees
  // Largest score of each row so far; then the largest magnitude of its weights.
  float largest[kKvQueries], shrink[kKvQueries], weight_scales[kKvQueries];
};

// `count` floats as rows `row` and kKvQueries + row of tiles, zeros behind; `largest` is their
// largest magnitude. Returns their scale.
template <typename Product>
LANE float halve(const float* x, int64_t count, int64_t columns, float largest, int64_t row,
                 int8_t* side, int32_t* sums, Stream& stream) {
  const bool tiny = largest < 1e-30f;
  const F inverse = set1(tiny ? 0.0f : kQuantMost / largest);
  I highs = zero_int(), lows = zero_int();
  for (int64_t k = 0; k < columns; k += 16) {
    stream.fetch();
    const int64_t left = count - k;
    const F v = left >= 16 ? load(x + k) : left > 0 ? load_part(x + k, left) : zero();
    const I code = to_int(mul(v, inverse));
    const I high = shift_signed<7>(add_int(code, set1_int(64)));
    const I low = sub_int(code, shift<-7>(high));
    int8_t* at = side + k / 64 * kSideBytes + row * 64 + k % 64;
    store_bytes(at, high);
    store_bytes(at + kKvQueries * 64, low);
    if constexpr (Product::kRaised) {
      highs = add_int(highs, high);
      lows = add_int(lows, low);
    }
  }
  if constexpr (Product::kRaised) {
    sums[row] = static_cast<int32_t>(sum_int(highs));
    sums[kKvQueries + row] = static_cast<int32_t>(sum_int(lows));
  }
  return tiny ? 0.0f : largest / kQuantMost;
}

// The loops over a block go through all rows before the next one begins: what one row waits for, a
// maximum or a division, is hidden by the others.

// Row r of the sums as scores, capped; their largest.
template <bool kWhole, bool kCap>
LANE float scores_of_row(const KvAttention& a, const KvSlice& s, const float* key_scales,
                         int64_t panels, int64_t r, Stream& stream, KvMemory* m) {
  const F scale = set1(s.scales[r]);
  F high = set1(-3.0e38f);
  for (int64_t p = 0; p < panels; ++p) {
    stream.fetch();
    const I joined = join(load_int(m->sums[p][r]), load_int(m->sums[p][kKvQueries + r]));
    F v = mul(mul(to_float(joined), load(key_scales + p * kPanel)), scale);
    if constexpr (kCap) v = mul(set1(a.cap), tanh_of(div(v, set1(a.cap))));
    store(m->scores[r] + p * kPanel, v);
    if constexpr (!kWhole) {
      const int64_t from = part(m->from[r] - p * kPanel), to = part(m->to[r] - p * kPanel);
      if (from >= to) continue;
      v = keep_range(v, from, to, set1(-3.0e38f));
    }
    high = max(high, v);
  }
  return most(high);
}

// Row r of the scores as weights of the values; returns their sum before the values' scales.
template <bool kWhole>
LANE float weights_of_row(const float* value_scales, int64_t columns, float maximum, int64_t r,
                          Stream& stream, KvMemory* m) {
  float* scores = m->scores[r];
  F total = zero();
  I most_weight = zero_int();
  for (int64_t i = 0; i < columns; i += kPanel) {
    stream.fetch();
    F e, w;
    if constexpr (kWhole) {
      e = exp_of(sub(load(scores + i), set1(maximum)));
      w = mul(e, load(value_scales + i));
    } else {
      const int64_t from = part(m->from[r] - i), to = part(m->to[r] - i);
      if (from >= to) {
        store(scores + i, zero());
        continue;
      }
      e = keep_range(exp_of(sub(load(scores + i), set1(maximum))), from, to, zero());
      w = keep_range(mul(e, load(value_scales + i)), from, to, zero());
    }
    total = add(total, e);
    most_weight = max_int(most_weight, magnitude(w));
    store(scores + i, w);
  }
  m->largest[r] = largest_of(most_weight);
  return sum(total);
}

// What a thread reads after the block of `count` positions at `begin`, to be asked for in `calls`.
LANE Stream next_of(const KvAttention& a, int64_t begin, int64_t count, int64_t calls) {
  const int64_t left = a.end - begin - count, behind = left < kKvBlock ? left : kKvBlock;
  const int64_t at = begin + count - a.begin;
  const int64_t positions = behind > 0 ? behind : a.next_positions;
  const int64_t lines = positions * a.key_stride / 64;
  const int64_t value_lines = (positions + kKvRun - 1) / kKvRun * kKvRun * a.value_stride / 64;
  return {behind > 0 ? a.keys + at * a.key_stride : a.next_keys, lines,
          behind > 0 ? a.values + at * a.value_stride : a.next_values,
          (lines + value_lines + calls - 1) / calls};
}

// `ask`: for the next block.
template <typename Product>
LANE void kv_block(const KvAttention& a, const KvSlice& s, int64_t begin, int64_t count, bool ask,
                   KvMemory* m) {
  const int64_t panels = (count + kPanel - 1) / kPanel, steps = (count + kKvRun - 1) / kKvRun;
  const int64_t columns = steps * kKvRun, at = begin - a.begin;
  const int8_t *keys = a.keys + at * a.key_stride, *values = a.values + at * a.value_stride;
  const float* value_scales = a.value_scales + at;
  const int64_t tiles = panels * ((a.size + 63) / 64) + a.value_stride / kPanel * steps;
  Stream stream{};
  if (ask) stream = next_of(a, begin, count, kTileCalls * tiles + 3 * panels * s.rows);
  for (int64_t first = 0; first < panels; first += kKvPanels) {
    Product::multiply({s.side, s.sums, (a.size + 63) / 64, s.rows,
                       keys + first * kPanel * a.key_stride, 1024, kPanel * a.key_stride,
                       panels - first < kKvPanels ? panels - first : kKvPanels, a.key_stride},
                      m->sums + first, stream);
  }
  for (int64_t r = 0; r < s.rows; ++r) {
    m->from[r] = s.lowest[r] < begin ? 0 : s.lowest[r] - begin;
    m->to[r] = s.highest[r] - begin < count ? s.highest[r] - begin : count;
    const bool whole = m->from[r] == 0 && m->to[r] == panels * kPanel;
    const float* scales = a.key_scales + at;
    const float high = a.cap > 0 ? scores_of_row<false, true>(a, s, scales, panels, r, stream, m)
                       : whole   ? scores_of_row<true, false>(a, s, scales, panels, r, stream, m)
                                 : scores_of_row<false, false>(a, s, scales, panels, r, stream, m);
    const float before = s.maxima[r];
    m->largest[r] = high > before ? high : before;
  }
  // e^(before − now), by the same function as the scores.
  const F largest = load_part(m->largest, s.rows);
  store_part(m->shrink, exp_of(sub(load_part(s.maxima, s.rows), largest)), s.rows);
  store_part(s.maxima, largest, s.rows);
  for (int64_t r = 0; r < s.rows; ++r) {
    const float now = m->largest[r];
    const bool whole = m->from[r] == 0 && m->to[r] == columns;
    const float total = whole ? weights_of_row<true>(value_scales, columns, now, r, stream, m)
                              : weights_of_row<false>(value_scales, columns, now, r, stream, m);
    s.totals[r] = s.totals[r] * m->shrink[r] + total;
  }
  for (int64_t r = 0; r < s.rows; ++r) {
    m->weight_scales[r] = halve<Product>(m->scores[r], columns, columns, m->largest[r], r,
                                         m->weights[0], m->weight_sums, stream);
  }
  for (int64_t first = 0; first < a.value_stride / kPanel; first += kKvPanels) {
    const int64_t left = a.value_stride / kPanel - first, n = left < kKvPanels ? left : kKvPanels;
    Product::multiply({m->weights[0], m->weight_sums, steps, s.rows, values + first * 1024,
                       kKvRun * a.value_stride, 1024, n, columns},
                      m->sums, stream);
    for (int64_t r = 0; r < s.rows; ++r) {
      for (int64_t p = 0; p < n; ++p) {
        const I joined = join(load_int(m->sums[p][r]), load_int(m->sums[p][kKvQueries + r]));
        float* to = s.values + r * a.value_stride + (first + p) * kPanel;
        store(to,
              fma(to_float(joined), set1(m->weight_scales[r]), mul(load(to), set1(m->shrink[r]))));
      }
    }
  }
}

template <typename Product>
void attend_int8(const KvAttention* a) noexcept {
  KvMemory memory;
  KvMemory* m = &memory;
  const int64_t tiles = (a->size + 63) / 64, columns = tiles * 64;
  const int64_t slices = (a->rows + kKvQueries - 1) / kKvQueries;
  auto* sides = static_cast<int8_t*>(a->memory);
  auto* sums = reinterpret_cast<int32_t*>(sides + slices * tiles * kSideBytes);
  auto* scales = reinterpret_cast<float*>(sums + slices * kHalves);
  Stream none{};
  for (int64_t r = 0; r < slices * kKvQueries; ++r) {
    const int64_t slice = r / kKvQueries;
    // Rows that there are not are zeros.
    const int64_t count = r < a->rows ? a->size : 0;
    const float* x = a->queries + (count > 0 ? r * a->size : 0);
    scales[r] =
        a->scale * halve<Product>(x, count, columns, largest_of(x, 0, count), r % kKvQueries,
                                  sides + slice * tiles * kSideBytes, sums + slice * kHalves, none);
  }
  for (int64_t begin = a->begin; begin < a->end; begin += kKvBlock) {
    const int64_t count = a->end - begin < kKvBlock ? a->end - begin : kKvBlock;
    for (int64_t slice = 0; slice < slices; ++slice) {
      const int64_t r0 = slice * kKvQueries;
      const int64_t rows = a->rows - r0 < kKvQueries ? a->rows - r0 : kKvQueries;
      const KvSlice s{sides + slice * tiles * kSideBytes,
                      sums + slice * kHalves,
                      scales + r0,
                      a->lowest + r0,
                      a->highest + r0,
                      a->maxima + r0,
                      a->totals + r0,
                      a->sums + r0 * a->value_stride,
                      rows};
      if (rows < kKvQueries) __builtin_memset(m->weights, 0, sizeof m->weights);
      kv_block<Product>(*a, s, begin, count, slice == 0, m);
    }
  }
}

}  // namespace
}  // namespace lathe::cpu
