// Few tokens times packed integer codes: x as integers of 15 bits in two halves, each multiplied
// with the codes as they stand; scales and offsets enter once per group. Included after
// lanes_codes_*.h, once per instruction set.
//
// Why 15 bits: a byte per activation costs up to 0.33 % of perplexity (docs/performance.md), and
// the second half is free as long as the codes come from memory.
#pragma once

#include "lathe/backend/cpu/kernel_ints_row.h"

namespace lathe::cpu {
namespace {

// ---- x to integers ----------------------------------------------------------------------------

constexpr float kQuantMost = 127 * 128 + 63;

// The largest of magnitudes, NaN above infinity.
LANE float largest_of(I magnitudes) {
  const int32_t bits = most_int(magnitudes);
  float largest;
  __builtin_memcpy(&largest, &bits, 4);
  return largest;
}
// The same of columns [from, to).
LANE float largest_of(const float* x, int64_t from, int64_t to) {
  I most = zero_int();
  for (int64_t k = from; k < to; k += 16) {
    most = max_int(most, magnitude(to - k < 16 ? load_part(x + k, to - k) : load(x + k)));
  }
  return largest_of(most);
}

// The codes of columns [from, to) and their sum; a run may end at any multiple of 8.
LANE int32_t quantize_run(const float* x, int64_t t, int64_t from, int64_t to, const F& inverse,
                          const QuantizedView* q) {
  auto* highs = const_cast<int8_t*>(q->high);
  auto* lows = const_cast<int8_t*>(q->low);
  I total = zero_int();
  for (int64_t k = from; k < to;) {
    const bool whole = to - k >= 16 && k % 16 == 0;
    const int64_t count = whole ? 16 : to - k < 8 ? to - k : 8;
    const F v = whole ? load(x + k) : load_part(x + k, count);
    const I code = to_int(mul(v, inverse));
    const I high = shift_signed<7>(add_int(code, set1_int(64)));
    const I low = sub_int(code, shift_left(high, 7));
    const int64_t at = k / 64 * q->run + t * 64 + k % 64;
    if (whole) {
      store_bytes(highs + at, high);
      store_bytes(lows + at, low);
    } else {
      store_half(highs + at, high);
      store_half(lows + at, low);
    }
    total = add_int(total, code);
    k += count;
  }
  return static_cast<int32_t>(sum_int(total));
}

// Bytes behind `cols` are zero before and stay so. Groups that share a scale have one block
// each, and as many as share one fill the rows.
void quantize(const float* x, int64_t t, const QuantizedView* q) noexcept {
  auto* scales = const_cast<float*>(q->scales);
  auto* code_sums = const_cast<int32_t*>(q->code_sums);
  auto* sums = const_cast<float*>(q->sums);
  float scale = 0;
  F inverse = zero();
  for (int64_t g = 0; g < q->groups; ++g) {
    const int64_t end = (g + 1) * q->group < q->cols ? (g + 1) * q->group : q->cols;
    float group_sum = 0;
    for (int64_t b = 0; b < q->blocks; ++b) {
      const int64_t from = g * q->group + b * q->block;
      const int64_t to = from + q->block < end ? from + q->block : end;
      if (g % q->span == 0) {
        const float largest = largest_of(x, from, q->span == 1 ? to : from + q->block * q->span);
        // Below this the reciprocal would overflow; such a block counts as zero.
        const bool tiny = largest < 1e-30f;
        inverse = set1(tiny ? 0.0f : kQuantMost / largest);
        scale = tiny ? 0.0f : largest / kQuantMost;
        scales[(g / q->span * q->blocks + b) * q->tokens + t] = scale;
      }
      const int32_t sum = quantize_run(x, t, from, to, inverse, q);
      code_sums[(g * q->blocks + b) * q->tokens + t] = sum;
      group_sum += scale * static_cast<float>(sum);
    }
    sums[g * q->tokens + t] = group_sum;
  }
}

// ---- products ---------------------------------------------------------------------------------

template <Codes kCodes, bool kBook, int kTokens>
struct CodeSums {
  static constexpr bool kSigned = kCodes == Codes::kInt8 || kBook;
  I high[kTokens][2], low[kTokens][2];

  template <int Q>
  LANE_MEMBER void at(I weights, const int8_t* highs, const int8_t* lows) {
    for (int t = 0; t < kTokens; ++t) {
      I &h = high[t][Q % 2], &l = low[t][Q % 2];
      h = dot<kSigned>(h, weights, quad(highs + t * 64 + 4 * Q));
      l = dot<kSigned>(l, weights, quad(lows + t * 64 + 4 * Q));
    }
  }
  // Of a block of x, `at` that of its first token.
  LANE_MEMBER void start(const QuantizedView* x, int64_t at, int32_t code_zero) {
    for (int t = 0; t < kTokens; ++t) {
      // Unsigned: where x holds a NaN the sum may be any integer, and the scale is a NaN.
      const auto sum = static_cast<uint32_t>(x->code_sums[at + t]);
      low[t][0] = set1_int(static_cast<int32_t>(0u - static_cast<uint32_t>(code_zero) * sum));
      low[t][1] = high[t][0] = high[t][1] = zero_int();
    }
  }
  LANE_MEMBER I joined(int t) const {
    return join(add_int(high[t][0], high[t][1]), add_int(low[t][0], low[t][1]));
  }
};

// What the groups of a panel add up to for each of at most kMost tokens. Every kernel that goes
// through groups does these steps in this order, so that a token's result is the same whatever else
// is in its batch (row_groups_of() and row_supers_of() do them for one token).
template <bool kBook, int kMost>
struct Totals {
  F total[kMost], group_total[kMost], super_total[kMost], min_total[kMost];

  LANE_MEMBER void start(int64_t panel, const float* bias, int64_t rows, int64_t tokens) {
    for (int64_t t = 0; t < tokens; ++t) {
      total[t] = bias ? load_part(bias + panel * kPanel, rows) : zero();
      group_total[t] = super_total[t] = min_total[t] = zero();
    }
  }
  // The products of block b of group g, Σ code · x for token t.
  LANE_MEMBER void add_block(const PackedView* w, const I& joined, const QuantizedView* x,
                             int64_t g, int64_t b, int64_t first_token, int64_t t) {
    if (w->scale_kind == Scales::kSuper) {
      group_total[t] = to_float(joined);
      return;
    }
    const float scale = x->scales[(g * x->blocks + b) * x->tokens + first_token + t];
    group_total[t] = fma(to_float(joined), set1(scale), b == 0 ? zero() : group_total[t]);
  }
  // Group g with its scales and offsets, `sum_of` giving what its blocks add up to for each token.
  template <typename Fn>
  LANE_MEMBER void add_group(const PackedView* w, int64_t panel, int64_t g, const QuantizedView* x,
                             int64_t first_token, int64_t tokens, const Fn& sum_of) {
    F scale = group_scale(w, panel, g);
    if (has_offset(w)) {
      const F o = group_offset(w, panel, g, scale);
      for (int64_t t = 0; t < tokens; ++t) {
        total[t] = fma(o, set1(x->sums[g * x->tokens + first_token + t]), total[t]);
      }
    }
    if constexpr (kBook) scale = mul(scale, set1(w->unit));
    for (int64_t t = 0; t < tokens; ++t) total[t] = fma(scale, sum_of(t), total[t]);
  }
  // The same after add_block() for all its blocks.
  LANE_MEMBER void end_group(const PackedView* w, int64_t panel, int64_t g, const QuantizedView* x,
                             int64_t first_token, int64_t tokens) {
    if (w->scale_kind == Scales::kSuper) {
      return end_group_of_super(w, panel, g, x, first_token, tokens);
    }
    add_group(w, panel, g, x, first_token, tokens,
              [&](int64_t t) UNROLLED { return group_total[t]; });
  }
  LANE_MEMBER void end_group_of_super(const PackedView* w, int64_t panel, int64_t g,
                                      const QuantizedView* x, int64_t first_token, int64_t tokens) {
    const int64_t at = (panel * w->groups + g) * kPanel;
    const F factor = load_i8(static_cast<const uint8_t*>(w->scales) + at);
    for (int64_t t = 0; t < tokens; ++t) {
      super_total[t] = fma(factor, group_total[t], super_total[t]);
    }
    if (w->mins) {
      const F min = load_u8(w->mins + at);
      for (int64_t t = 0; t < tokens; ++t) {
        min_total[t] = fma(min, set1(x->sums[g * x->tokens + first_token + t]), min_total[t]);
      }
    }
    if ((g + 1) % w->groups_per_super != 0) return;
    const int64_t super = g / w->groups_per_super, super_at = (panel * w->supers + super) * kPanel;
    const float* x_scales = x->scales + super * x->tokens + first_token;
    for (int64_t t = 0; t < tokens; ++t) {
      total[t] = fma(super_total[t], super_scale(w, super_at, x_scales[t]), total[t]);
      if (w->mins) total[t] = fma(min_total[t], super_min(w, super_at), total[t]);
      super_total[t] = min_total[t] = zero();
    }
  }
};

// fn<kCodes, kHigh, kBook>() for the kind of w's codes.
template <typename Fn>
LANE void for_kind_of_codes(const PackedView* w, const Fn& fn) {
  if (w->codes == Codes::kInt8) return fn.template operator()<Codes::kInt8, 0, false>();
  if (w->codes == Codes::kInt2) {
    if (w->high_bits == 1) return fn.template operator()<Codes::kInt2, 1, false>();
    return fn.template operator()<Codes::kInt2, 0, false>();
  }
  if (w->high_bits == 1) return fn.template operator()<Codes::kInt4, 1, false>();
  if (w->high_bits == 2) return fn.template operator()<Codes::kInt4, 2, false>();
  if (w->by_book) return fn.template operator()<Codes::kInt4, 0, true>();
  fn.template operator()<Codes::kInt4, 0, false>();
}

template <Codes kCodes, int kHigh, bool kBook, int kTokens>
void codes_panel(const PackedView* w, int64_t panel, const QuantizedView* x, int64_t first_token,
                 const float* bias, float* y, int64_t ldy) noexcept {
  constexpr int64_t kColumns = kUnit<kCodes, kHigh>;
  constexpr int kQuads = kColumns / 4;
  const Bytes16 book = load_book(w->book);
  const int32_t code_zero = kCodes == Codes::kInt8 || kBook ? kSignedZero : w->code_zero;
  const uint8_t* p = w->data + panel * w->panel_bytes;
  const uint8_t* panel_high = kHigh > 0 ? w->high + panel * w->high_panel_bytes : nullptr;
  const int64_t rows = rows_of(w, panel);
  Totals<kBook, kTokens> totals;
  totals.start(panel, bias, rows, kTokens);
  for (int64_t g = 0; g < w->groups; ++g) {
    const int64_t first_column = g * w->group;
    const int64_t last = first_column + w->group < w->cols ? first_column + w->group : w->cols;
    for (int64_t b = 0; b < x->blocks; ++b) {
      const int64_t from = first_column + b * x->block;
      const int64_t to = from + x->block < last ? from + x->block : last;
      const int64_t at = (g * x->blocks + b) * x->tokens + first_token;
      CodeSums<kCodes, kBook, kTokens> sums;
      sums.start(x, at, code_zero);
      for (int64_t k = from; k < to; k += kColumns, p += kColumns / 8 * kStepBytes<kCodes>) {
        const I high = high_bits<kCodes, kHigh>(panel_high, k);
        const int64_t place = k / 64 * x->run + first_token * 64 + k % 64;
        quads<kCodes, kHigh, kBook, 0, kQuads>(book, p, high, x->high + place, x->low + place,
                                               sums);
      }
      for (int t = 0; t < kTokens; ++t) {
        totals.add_block(w, sums.joined(t), x, g, b, first_token, t);
      }
    }
    totals.end_group(w, panel, g, x, first_token, kTokens);
  }
  for (int t = 0; t < kTokens; ++t) {
    store_part(y + (first_token + t) * ldy + panel * kPanel, totals.total[t], rows);
  }
}

template <Codes kCodes, int kHigh, bool kBook, int kTokens>
void codes_tokens(const PackedView* w, int64_t panel, const QuantizedView* x, int64_t first_token,
                  const float* bias, float* y, int64_t ldy) noexcept {
  if constexpr (kTokens > 0) {
    for (; first_token + kTokens <= x->tokens; first_token += kTokens) {
      codes_panel<kCodes, kHigh, kBook, kTokens>(w, panel, x, first_token, bias, y, ldy);
    }
    codes_tokens<kCodes, kHigh, kBook, kTokens - 1>(w, panel, x, first_token, bias, y, ldy);
  }
}

// All tokens while the codes of a panel are in the cache.
template <Codes kCodes, int kHigh, bool kBook>
void codes_of(const PackedView* w, int64_t begin, int64_t end, const QuantizedView* x,
              const float* bias, float* y, int64_t ldy) noexcept {
  if (x->tokens == 1) {
    const bool done = has_offset(w)
                          ? row_of<kCodes, kHigh, kBook, true>(w, begin, end, x, bias, y)
                          : row_of<kCodes, kHigh, kBook, false>(w, begin, end, x, bias, y);
    if (done) return;
  }
  for (int64_t panel = begin; panel < end; ++panel) {
    codes_tokens<kCodes, kHigh, kBook, kCodeTokensAtOnce>(w, panel, x, 0, bias, y, ldy);
  }
}

void multiply_codes(const PackedView* w, int64_t begin, int64_t end, const QuantizedView* x,
                    const float* bias, float* y, int64_t ldy) noexcept {
  for_kind_of_codes(w, [&]<Codes kCodes, int kHigh, bool kBook>() {
    codes_of<kCodes, kHigh, kBook>(w, begin, end, x, bias, y, ldy);
  });
}

}  // namespace
}  // namespace lathe::cpu
