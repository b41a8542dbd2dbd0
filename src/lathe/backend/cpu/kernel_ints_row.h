// One row of x times packed integer codes: what decoding a single sequence does all day. The same
// integers and the same floats as codes_panel() in kernel_ints.h; but the kind of scales and the
// size of groups are known, and no place is computed from the number of tokens: what a group costs
// beside its codes decides over groups of 16 and 32 columns.
#pragma once

#include "lathe/backend/cpu/kernel_codes.h"

namespace lathe::cpu {
namespace {

// Columns that one round of the inner loop takes: those that share a vector of codes.
template <Codes kCodes, int kHigh>
constexpr int64_t kUnit = kCodes == Codes::kInt2 || kHigh == 2 ? 16
                          : kHigh == 1                         ? 32
                                                               : 8;

// The bytes of columns k + 4·Q … k + 4·Q + 3, k the first of a unit, whose further bits begin at
// bit kHighAt of `high`.
template <Codes kCodes, int kHigh, bool kBook, int Q, int kHighAt = 0>
LANE I bytes_of(const Bytes16& book, const uint8_t* p, const I& high) {
  if constexpr (kCodes == Codes::kInt8) {
    return from_signed(load_int(p + Q * 64));
  } else {
    constexpr int kBits = kLowBits<kCodes>, kPerByte = 8 / kBits;
    constexpr int kMask = (1 << kBits) - 1;
    const I low = and_bytes(shift<kBits*(Q % kPerByte)>(load_int(p + Q / kPerByte * 64)), kMask);
    if constexpr (kBook) return lookup_bytes(book, low);
    if constexpr (kHigh == 0) return low;
    return or_masked(low, shift<kHigh * Q - kBits + kHighAt>(high), ((1 << kHigh) - 1) << kBits);
  }
}

// The further bits of the unit that begins at column k of a panel, from its bit 0 on.
template <Codes kCodes, int kHigh>
LANE I high_bits(const uint8_t* panel_high, int64_t k) {
  if constexpr (kHigh == 0) {
    return zero_int();
  } else {
    constexpr int64_t kOfVector = 32 / kHigh;
    const I bits = load_int(panel_high + k / kOfVector * 64);
    if constexpr (kOfVector <= kUnit<kCodes, kHigh>) return bits;
    return shift_right(bits, static_cast<int>(k % kOfVector / 4) * kHigh);
  }
}

template <Codes kCodes, int kHigh, bool kBook, int Q, int kQuads, int kHighAt = 0, typename Sums>
LANE void quads(const Bytes16& book, const uint8_t* p, const I& high, const int8_t* highs,
                const int8_t* lows, Sums& sums) {
  if constexpr (Q < kQuads) {
    const I bytes = bytes_of<kCodes, kHigh, kBook, Q, kHighAt>(book, p, high);
    sums.template at<Q>(bytes, highs, lows);
    quads<kCodes, kHigh, kBook, Q + 1, kQuads, kHighAt>(book, p, high, highs, lows, sums);
  }
}

// The most quads whose products fit into 16 bits together: 2 · 128 · code per quad.
template <Codes kCodes, int kHigh, bool kBook>
constexpr int kQuadsInPairs = kCodes == Codes::kInt8 || kBook ? 1
                              : kCodes == Codes::kInt2        ? 8
                              : kHigh == 0                    ? 8
                              : kHigh == 1                    ? 4
                                                              : 2;

// Sums of one row of x, high and low half.
template <Codes kCodes, int kHigh, bool kBook, int kQuads>
struct RowProducts {
  static constexpr bool kSigned = kCodes == Codes::kInt8 || kBook;
  static constexpr int kPairs = kQuadsInPairs<kCodes, kHigh, kBook>;
  RowSums<kSigned, kPairs>&high, &low;
  template <int Q>
  LANE_MEMBER void at(I weights, const int8_t* highs, const int8_t* lows) {
    high.template at<Q, kQuads>(weights, quad(highs + 4 * Q));
    low.template at<Q, kQuads>(weights, quad(lows + 4 * Q));
  }
};

// Integers of a group to a float: Σ code · x in units of the group's scales.
LANE F joined_sum(const I& high, const I& low, const I& zeros, float scale) {
  return mul(to_float(sub_int(join(high, low), zeros)), set1(scale));
}

// Groups of kGroup columns, a multiple of a unit and at most a block, that fill the rows.
template <Codes kCodes, int kHigh, bool kBook, bool kOffset, Scales kKind, int kGroup>
void row_groups(const PackedView* w, int64_t begin, int64_t end, const QuantizedView* x,
                const float* bias, float* y) noexcept {
  constexpr bool kSigned = kCodes == Codes::kInt8 || kBook;
  constexpr bool kSupers = kKind == Scales::kSuper || kKind == Scales::kNested;
  constexpr int kUnits = kUnit<kCodes, kHigh>;
  constexpr int kColumns = kGroup < 32 ? kGroup : 32;  // unrolled
  constexpr int kOfVector = kHigh > 0 ? 32 / kHigh : 32;
  // Two groups of 16 share a vector of single bits.
  constexpr int kTogether = kHigh > 0 && kOfVector > kGroup ? kOfVector / kGroup : 1;
  using Sums = RowSums<kSigned, kQuadsInPairs<kCodes, kHigh, kBook>>;
  const Bytes16 book = load_book(w->book);
  const I code_zero = set1_int(kSigned ? kSignedZero : w->code_zero);
  const F unit = set1(w->unit);
  const int64_t groups = w->groups;
  for (int64_t panel = begin; panel < end; ++panel) {
    const uint8_t* p = w->data + panel * w->panel_bytes;
    const uint8_t* high_plane = kHigh > 0 ? w->high + panel * w->high_panel_bytes : nullptr;
    const int8_t *highs = x->high, *lows = x->low;
    const int64_t rows = w->rows - panel * kPanel < kPanel ? w->rows - panel * kPanel : kPanel;
    int64_t at = panel * groups * kPanel, super_at = panel * w->supers * kPanel, in_super = 0;
    F super = zero(), super_min = zero();
    F total = bias ? load_part(bias + panel * kPanel, rows) : zero();
    const auto one = [&]<int kHighAt>(int64_t g) __attribute__((always_inline)) {
      Sums high_sums, low_sums;
      high_sums.clear();
      low_sums.clear();
      for (int i = 0; i < kGroup / kColumns; ++i) {
        for (int line = 0; line < kColumns / 8 * kStepBytes<kCodes>; line += 64) {
          prefetch(p + kAhead + line);
        }
        constexpr int kQuads = (kHigh > 0 ? kUnits : kColumns) / 4;
        RowProducts<kCodes, kHigh, kBook, kQuads> products{high_sums, low_sums};
        if constexpr (kHigh == 0) {
          quads<kCodes, 0, kBook, 0, kQuads>(book, p, zero_int(), highs, lows, products);
        } else {
          I high = load_int(high_plane);
          quads<kCodes, kHigh, kBook, 0, kQuads, kHighAt>(book, p, high, highs, lows, products);
          if constexpr (kUnits < kColumns) {
            if constexpr (kOfVector == kUnits) high = load_int(high_plane + 64);
            constexpr int kNext = kOfVector == kUnits ? 0 : 8 / 2;
            quads<kCodes, kHigh, kBook, 0, kQuads, kNext>(book, p + kUnits / 8 * kStepBytes<kCodes>,
                                                          high, highs + kUnits, lows + kUnits,
                                                          products);
          }
          high_plane += kTogether > 1 && kHighAt == 0 ? 0 : kColumns * kTogether / kOfVector * 64;
        }
        p += kColumns / 8 * kStepBytes<kCodes>;
        highs += kColumns;
        lows += kColumns;
      }
      const I zeros = mul_int(code_zero, set1_int(x->code_sums[g]));
      const F sum = joined_sum(high_sums.total(), low_sums.total(), zeros, x->scales[g]);
      if constexpr (kSupers) {
        if (in_super == 0) {
          in_super = w->groups_per_super;
          super = super_of<kKind>(w, super_at);
          if constexpr (kOffset) super_min = load_f16(w->super_mins + super_at);
          super_at += kPanel;
        }
        --in_super;
      }
      F scale = scale_of<kKind>(w, at, super);
      if constexpr (kOffset && kSupers) {
        const F o = sub(zero(), mul(super_min, load_u8(w->mins + at)));
        total = fma(o, set1(x->sums[g]), total);
      } else if constexpr (kOffset) {
        total = fma(group_offset(w, panel, g, scale), set1(x->sums[g]), total);
      }
      if constexpr (kBook) scale = mul(scale, unit);
      total = fma(scale, sum, total);
      at += kPanel;
    };
    for (int64_t g = 0; g < groups; g += kTogether) {
      one.template operator()<0>(g);
      if constexpr (kTogether > 1) one.template operator()<4>(g + 1);
    }
    store_part(y + panel * kPanel, total, rows);
  }
}

// Long groups of any size: a whole row, or a large block.
template <Codes kCodes, bool kBook, Scales kKind>
void row_blocks(const PackedView* w, int64_t begin, int64_t end, const QuantizedView* x,
                const float* bias, float* y) noexcept {
  constexpr bool kSigned = kCodes == Codes::kInt8 || kBook;
  constexpr int64_t kStep = kStepBytes<kCodes>;  // of 8 columns
  using Sums = RowSums<kSigned, kQuadsInPairs<kCodes, 0, kBook>>;
  const Bytes16 book = load_book(w->book);
  const I code_zero = set1_int(kSigned ? kSignedZero : w->code_zero);
  const int64_t group = w->group, groups = w->groups, cols = w->cols, block = x->block;
  for (int64_t panel = begin; panel < end; ++panel) {
    const uint8_t* p = w->data + panel * w->panel_bytes;
    const int64_t rows = w->rows - panel * kPanel < kPanel ? w->rows - panel * kPanel : kPanel;
    F total = bias ? load_part(bias + panel * kPanel, rows) : zero();
    for (int64_t g = 0, from = 0; g < groups; ++g) {
      const int64_t last = from + group < cols ? from + group : cols;
      F group_total = zero();
      for (int64_t b = g * x->blocks; from < last; ++b) {
        const int64_t to = from + block < last ? from + block : last;
        const int8_t *highs = x->high + from, *lows = x->low + from;
        Sums high_sums, low_sums;
        high_sums.clear();
        low_sums.clear();
        int64_t left = to - from;
        for (; left >= 32; left -= 32, p += 4 * kStep, highs += 32, lows += 32) {
          for (int64_t line = 0; line < 4 * kStep; line += 64) prefetch(p + kAhead + line);
          RowProducts<kCodes, 0, kBook, 8> products{high_sums, low_sums};
          quads<kCodes, 0, kBook, 0, 8>(book, p, zero_int(), highs, lows, products);
        }
        for (; left > 0; left -= 8, p += kStep, highs += 8, lows += 8) {
          RowProducts<kCodes, 0, kBook, 2> products{high_sums, low_sums};
          quads<kCodes, 0, kBook, 0, 2>(book, p, zero_int(), highs, lows, products);
        }
        const I zeros = mul_int(code_zero, set1_int(x->code_sums[b]));
        const I joined = sub_int(join(high_sums.total(), low_sums.total()), zeros);
        group_total = fma(to_float(joined), set1(x->scales[b]), group_total);
        from = to;
      }
      F scale = group_scale_of<kKind>(w, panel, g);
      if constexpr (kBook) scale = mul(scale, set1(w->unit));
      total = fma(scale, group_total, total);
    }
    store_part(y + panel * kPanel, total, rows);
  }
}

// Calls row_groups for the size of w's groups if it is listed.
template <Codes kCodes, int kHigh, bool kBook, bool kOffset, Scales kKind, int... kGroups>
bool row_of_size(const PackedView* w, int64_t begin, int64_t end, const QuantizedView* x,
                 const float* bias, float* y) noexcept {
  if (w->group * w->groups != w->cols) return false;
  return ((w->group == kGroups &&
           (row_groups<kCodes, kHigh, kBook, kOffset, kKind, kGroups>(w, begin, end, x, bias, y),
            true)) ||
          ...);
}

// False for what has no kernel of its own: the general one takes it.
template <Codes kCodes, int kHigh, bool kBook, bool kOffset>
bool row_of(const PackedView* w, int64_t begin, int64_t end, const QuantizedView* x,
            const float* bias, float* y) noexcept {
#define LATHE_ROW(kind, ...) \
  row_of_size<kCodes, kHigh, kBook, kOffset, Scales::kind, __VA_ARGS__>(w, begin, end, x, bias, y)
  if constexpr (kCodes == Codes::kInt8 && !kOffset) {
    if (w->scale_kind == Scales::kF16) return LATHE_ROW(kF16, 32);
    if (w->scale_kind != Scales::kF32) return false;
    if (LATHE_ROW(kF32, 32, 128)) return true;
    row_blocks<kCodes, false, Scales::kF32>(w, begin, end, x, bias, y);
    return true;
  } else if constexpr (kBook && !kOffset) {
    if (w->scale_kind == Scales::kF16) return LATHE_ROW(kF16, 32);
    if (w->scale_kind == Scales::kE8M0) return LATHE_ROW(kE8M0, 32);
    if (w->scale_kind == Scales::kE4M3) return LATHE_ROW(kE4M3, 16);
    if (w->scale_kind == Scales::kNested) {
      if (LATHE_ROW(kNested, 64, 128)) return true;
      row_blocks<kCodes, true, Scales::kNested>(w, begin, end, x, bias, y);
      return true;
    }
    if (w->scale_kind != Scales::kF32) return false;
    if (LATHE_ROW(kF32, 32, 64)) return true;
    row_blocks<kCodes, true, Scales::kF32>(w, begin, end, x, bias, y);
    return true;
  } else if constexpr (kCodes == Codes::kInt4 && kHigh == 0 && !kBook) {
    if (w->scale_kind == Scales::kF16) return LATHE_ROW(kF16, 32, 64, 128);
    if constexpr (kOffset) return w->scale_kind == Scales::kSuper && LATHE_ROW(kSuper, 32);
    if (w->scale_kind != Scales::kF32) return false;
    row_blocks<kCodes, false, Scales::kF32>(w, begin, end, x, bias, y);
    return true;
  } else if constexpr (kCodes == Codes::kInt4 && kHigh == 1) {
    if (w->scale_kind == Scales::kF16) return LATHE_ROW(kF16, 32);
    if constexpr (kOffset) return w->scale_kind == Scales::kSuper && LATHE_ROW(kSuper, 32);
  } else if constexpr (kCodes == Codes::kInt4 && kHigh == 2 && !kOffset) {
    return w->scale_kind == Scales::kSuper && LATHE_ROW(kSuper, 16);
  } else if constexpr (kCodes == Codes::kInt2) {
    if (w->scale_kind == Scales::kF16) return LATHE_ROW(kF16, 32, 64, 128);
    if constexpr (kOffset == (kHigh == 0)) {
      return w->scale_kind == Scales::kSuper && LATHE_ROW(kSuper, 16);
    }
  }
#undef LATHE_ROW
  return false;
}

}  // namespace
}  // namespace lathe::cpu
