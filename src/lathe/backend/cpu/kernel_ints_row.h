// One row of x times packed integer codes: what decoding a single sequence does all day. The same
// integers and the same floats as codes_panel() in kernel_ints.h; but the kind of scales and the
// size of groups are known, and no place is computed from the number of tokens: what a group costs
// beside its codes decides over groups of 16 and 32 columns.
#pragma once

#include "lathe/backend/cpu/kernel_codes.h"
#include "lathe/backend/cpu/kernel_streams.h"

namespace lathe::cpu {
namespace {

// Columns that one round of the inner loop takes: those that share a vector of codes.
template <Codes kCodes, int kHigh>
constexpr int64_t kUnit = kCodes == Codes::kInt2 || kHigh == 2 ? 16
                          : kHigh == 1                         ? 32
                                                               : 8;

// The bytes of columns k + 4·Q … k + 4·Q + 3, k the first of a unit, whose further bits begin at
// bit kHighAt of `high`. Each line of codes asks for the one `ahead` bytes on: several requests in
// a row would wait for each other, and the arithmetic for them.
template <Codes kCodes, int kHigh, bool kBook, int Q, int kHighAt = 0>
LANE I bytes_of(const Bytes16& book, const uint8_t* p, const I& high, int64_t ahead = kAhead) {
  constexpr int kPerByte = kCodes == Codes::kInt8 ? 1 : 8 / kLowBits<kCodes>;
  if constexpr (Q % kPerByte == 0) prefetch(p + ahead + Q / kPerByte * 64);
  if constexpr (kCodes == Codes::kInt8) {
    return from_signed(load_int(p + Q * 64));
  } else {
    constexpr int kBits = kLowBits<kCodes>;
    constexpr int kMask = (1 << kBits) - 1;
    const I shifted = shift<kBits*(Q % kPerByte)>(load_int(p + Q / kPerByte * 64));
    if constexpr (kBook) return lookup_low_bits(book, shifted);
    const I low = and_bytes(shifted, kMask);
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

// Products of one row of x with kPanels panels at once. Several streams of codes come from memory
// faster than one, up to 1.4 times, and each part of x is spread over the lanes once for all.
template <Codes kCodes, int kHigh, bool kBook, int kQuads, int kPanels, bool kShort>
struct RowProducts {
  static constexpr bool kSigned = kCodes == Codes::kInt8 || kBook;
  using Sums = RowSums<kSigned, kQuadsInPairs<kCodes, kHigh, kBook>, kShort>;
  Sums (&high)[kPanels];
  Sums (&low)[kPanels];

  // The quads from Q on; `p`, `bits` and `ahead` as in bytes_of().
  template <int Q, int kHighAt>
  LANE_MEMBER void add(const Bytes16& book, const uint8_t* const (&p)[kPanels],
                       const I (&bits)[kPanels], const int8_t* highs, const int8_t* lows,
                       int64_t ahead) {
    if constexpr (Q < kQuads) {
      const I of_high = quad(highs + 4 * Q), of_low = quad(lows + 4 * Q);
      for (int i = 0; i < kPanels; ++i) {
        const I codes = bytes_of<kCodes, kHigh, kBook, Q, kHighAt>(book, p[i], bits[i], ahead);
        high[i].template at<Q, kQuads>(codes, of_high);
        low[i].template at<Q, kQuads>(codes, of_low);
      }
      add<Q + 1, kHighAt>(book, p, bits, highs, lows, ahead);
    }
  }
};

// Where the sums of a group begin, for the zero of its codes. Where x holds a NaN its sum may be
// any integer, and its scale is a NaN.
LANE I without_zeros(uint32_t code_zero, int32_t code_sum) {
  return set1_int(static_cast<int32_t>(0u - code_zero * static_cast<uint32_t>(code_sum)));
}

// Integers of a group to a float: Σ code · x in units of the group's scales.
LANE F joined_sum(const I& high, const I& low, float scale) {
  return mul(to_float(join(high, low)), set1(scale));
}

// Asks for `count` scales, and what goes with them, that are read when the next panels are.
template <Scales kKind, bool kOffset>
LANE void prefetch_scales(const PackedView* w, int64_t at, int64_t count) {
  constexpr int64_t kBytes = kKind == Scales::kF32 ? 4 : kKind == Scales::kF16 ? 2 : 1;
  const auto* scales = static_cast<const uint8_t*>(w->scales) + at * kBytes;
  for (int64_t b = 0; b < count * kBytes; b += 64) prefetch(scales + b);
  if constexpr (kOffset && kKind == Scales::kSuper) {
    for (int64_t b = 0; b < count; b += 64) prefetch(w->mins + at + b);
  } else if constexpr (kOffset) {
    if (w->zeros) prefetch(w->zeros + at);
    if (w->offsets) prefetch(w->offsets + at);
  }
}

// Groups of kGroup columns, a multiple of a unit and at most a block, that fill the rows.
template <Codes kCodes, int kHigh, bool kBook, bool kOffset, Scales kKind, int kGroup, int kPanels>
LANE void row_groups_of(const PackedView* w, const Streams& streams, const QuantizedView* x,
                        const float* bias, float* y) {
  constexpr bool kSigned = kCodes == Codes::kInt8 || kBook;
  constexpr bool kSupers = kKind == Scales::kSuper || kKind == Scales::kNested;
  constexpr int kUnits = kUnit<kCodes, kHigh>;
  constexpr int kColumns = kGroup < 32 ? kGroup : 32;  // unrolled
  constexpr int kOfVector = kHigh > 0 ? 32 / kHigh : 32;
  // Two groups of 16 share a vector of single bits.
  constexpr int kTogether = kHigh > 0 && kOfVector > kGroup ? kOfVector / kGroup : 1;
  constexpr int kQuads = (kHigh > 0 ? kUnits : kColumns) / 4;
  using Products = RowProducts<kCodes, kHigh, kBook, kQuads, kPanels, kGroup <= 32>;
  const Bytes16 book = load_book(w->book);
  const auto code_zero = static_cast<uint32_t>(kSigned ? kSignedZero : w->code_zero);
  const F unit = set1(w->unit);
  constexpr int64_t kGroupBytes = kGroup / 8 * kStepBytes<kCodes>;
  [[maybe_unused]] constexpr int64_t kHighAhead = kHigh > 0 ? kAhead * kHigh / kLowBits<kCodes> : 0;
  const int64_t groups = w->groups, next_groups = (1 + streams.skip) * groups * kPanel;
  const int8_t *highs = x->high, *lows = x->low;
  const uint8_t *p[kPanels], *high_plane[kPanels];
  int64_t at[kPanels], super_at[kPanels], rows[kPanels], in_super = 0;
  F super[kPanels], super_min[kPanels], total[kPanels];
  for (int i = 0; i < kPanels; ++i) {
    const int64_t n = streams.at(i), left = w->rows - n * kPanel;
    p[i] = w->data + n * w->panel_bytes;
    high_plane[i] = kHigh > 0 ? w->high + n * w->high_panel_bytes : nullptr;
    at[i] = n * groups * kPanel;
    super_at[i] = n * w->supers * kPanel;
    rows[i] = left < kPanel ? left : kPanel;
    super[i] = super_min[i] = zero();
    total[i] = bias ? load_part(bias + n * kPanel, rows[i]) : zero();
  }
  const auto one = [&]<int kHighAt>(int64_t g) __attribute__((always_inline)) {
    typename Products::Sums high_sums[kPanels], low_sums[kPanels];
    const I start = without_zeros(code_zero, x->code_sums[g]);
    for (int i = 0; i < kPanels; ++i) {
      high_sums[i].start(zero_int());
      low_sums[i].start(start);
    }
    Products products{high_sums, low_sums};
    const int64_t ahead = ahead_of(g * kGroupBytes, w->panel_bytes, streams);
    for (int c = 0; c < kGroup / kColumns; ++c) {
      I bits[kPanels];
      if constexpr (kHigh == 0) {
        products.template add<0, 0>(book, p, bits, highs, lows, ahead);
      } else {
        const int64_t high_ahead =
            ahead == kAhead ? kHighAhead : kHighAhead + streams.skip * w->high_panel_bytes;
        for (int i = 0; i < kPanels; ++i) bits[i] = load_int(high_plane[i]);
        for (int i = 0; i < kPanels && kHighAt == 0; ++i) prefetch(high_plane[i] + high_ahead);
        products.template add<0, kHighAt>(book, p, bits, highs, lows, ahead);
        if constexpr (kUnits < kColumns) {
          constexpr int kNext = kOfVector == kUnits ? 0 : 8 / 2;
          const uint8_t* next[kPanels];
          for (int i = 0; i < kPanels; ++i) {
            if constexpr (kOfVector == kUnits) {
              bits[i] = load_int(high_plane[i] + 64);
              prefetch(high_plane[i] + high_ahead + 64);
            }
            next[i] = p[i] + kUnits / 8 * kStepBytes<kCodes>;
          }
          products.template add<0, kNext>(book, next, bits, highs + kUnits, lows + kUnits, ahead);
        }
        for (int i = 0; i < kPanels; ++i) {
          high_plane[i] +=
              kTogether > 1 && kHighAt == 0 ? 0 : kColumns * kTogether / kOfVector * 64;
        }
      }
      for (int i = 0; i < kPanels; ++i) p[i] += kColumns / 8 * kStepBytes<kCodes>;
      highs += kColumns;
      lows += kColumns;
    }
    if constexpr (kSupers) {
      if (in_super == 0) {
        in_super = w->groups_per_super;
        for (int i = 0; i < kPanels; ++i) {
          prefetch_scales<kKind, kOffset>(w, at[i] + next_groups, in_super * kPanel);
          super[i] = super_of<kKind>(w, super_at[i]);
          if constexpr (kOffset) super_min[i] = sub(zero(), load_f16(w->super_mins + super_at[i]));
          super_at[i] += kPanel;
        }
      }
      --in_super;
    }
    for (int i = 0; i < kPanels; ++i) {
      const F sum = joined_sum(high_sums[i].total(), low_sums[i].total(), x->scales[g]);
      if constexpr (!kSupers) prefetch_scales<kKind, kOffset>(w, at[i] + next_groups, kPanel);
      F scale = scale_of<kKind>(w, at[i], super[i]);
      if constexpr (kOffset && kSupers) {
        const F o = mul(super_min[i], load_u8(w->mins + at[i]));
        total[i] = fma(o, set1(x->sums[g]), total[i]);
      } else if constexpr (kOffset) {
        total[i] = fma(group_offset(w, streams.at(i), g, scale), set1(x->sums[g]), total[i]);
      }
      if constexpr (kBook) scale = mul(scale, unit);
      total[i] = fma(scale, sum, total[i]);
      at[i] += kPanel;
    }
  };
  for (int64_t g = 0; g < groups; g += kTogether) {
    one.template operator()<0>(g);
    if constexpr (kTogether > 1) one.template operator()<4>(g + 1);
  }
  for (int i = 0; i < kPanels; ++i) store_part(y + (streams.at(i)) * kPanel, total[i], rows[i]);
}

template <Codes kCodes, int kHigh, bool kBook, bool kOffset, Scales kKind, int kGroup>
void row_groups(const PackedView* w, int64_t begin, int64_t end, const QuantizedView* x,
                const float* bias, float* y) noexcept {
  for_streams<kStreamsAtOnce>(
      w, begin, end, [&]<int kPanels>(const Streams& s) __attribute__((always_inline)) {
        row_groups_of<kCodes, kHigh, kBook, kOffset, kKind, kGroup, kPanels>(w, s, x, bias, y);
      });
}

// Long groups of any size: a whole row, or a large block.
template <Codes kCodes, bool kBook, Scales kKind, int kPanels>
LANE void row_blocks_of(const PackedView* w, const Streams& streams, const QuantizedView* x,
                        const float* bias, float* y) {
  constexpr bool kSigned = kCodes == Codes::kInt8 || kBook;
  constexpr int64_t kStep = kStepBytes<kCodes>;  // of 8 columns
  using Products = RowProducts<kCodes, 0, kBook, 8, kPanels, false>;
  const Bytes16 book = load_book(w->book);
  const auto code_zero = static_cast<uint32_t>(kSigned ? kSignedZero : w->code_zero);
  const int64_t group = w->group, groups = w->groups, cols = w->cols, block = x->block;
  const I none[kPanels] = {};
  const uint8_t* p[kPanels];
  int64_t rows[kPanels];
  F total[kPanels];
  for (int i = 0; i < kPanels; ++i) {
    const int64_t n = streams.at(i), left = w->rows - n * kPanel;
    p[i] = w->data + n * w->panel_bytes;
    rows[i] = left < kPanel ? left : kPanel;
    total[i] = bias ? load_part(bias + n * kPanel, rows[i]) : zero();
  }
  for (int64_t g = 0, from = 0; g < groups; ++g) {
    const int64_t last = from + group < cols ? from + group : cols;
    F group_total[kPanels];
    for (F& t : group_total) t = zero();
    for (int64_t b = g * x->blocks; from < last; ++b) {
      const int64_t ahead = ahead_of(from / 8 * kStep, w->panel_bytes, streams);
      const int64_t to = from + block < last ? from + block : last;
      const int8_t *highs = x->high + from, *lows = x->low + from;
      typename Products::Sums high_sums[kPanels], low_sums[kPanels];
      const I start = without_zeros(code_zero, x->code_sums[b]);
      for (int i = 0; i < kPanels; ++i) {
        high_sums[i].start(zero_int());
        low_sums[i].start(start);
      }
      int64_t left = to - from;
      for (; left >= 32; left -= 32, highs += 32, lows += 32) {
        Products{high_sums, low_sums}.template add<0, 0>(book, p, none, highs, lows, ahead);
        for (int i = 0; i < kPanels; ++i) p[i] += 4 * kStep;
      }
      for (; left > 0; left -= 8, highs += 8, lows += 8) {
        RowProducts<kCodes, 0, kBook, 2, kPanels, false>{high_sums, low_sums}.template add<0, 0>(
            book, p, none, highs, lows, ahead);
        for (int i = 0; i < kPanels; ++i) p[i] += kStep;
      }
      for (int i = 0; i < kPanels; ++i) {
        const I joined = join(high_sums[i].total(), low_sums[i].total());
        group_total[i] = fma(to_float(joined), set1(x->scales[b]), group_total[i]);
      }
      from = to;
    }
    for (int i = 0; i < kPanels; ++i) {
      F scale = group_scale_of<kKind>(w, streams.at(i), g);
      if constexpr (kBook) scale = mul(scale, set1(w->unit));
      total[i] = fma(scale, group_total[i], total[i]);
    }
  }
  for (int i = 0; i < kPanels; ++i) store_part(y + (streams.at(i)) * kPanel, total[i], rows[i]);
}

template <Codes kCodes, bool kBook, Scales kKind>
void row_blocks(const PackedView* w, int64_t begin, int64_t end, const QuantizedView* x,
                const float* bias, float* y) noexcept {
  for_streams<kStreamsAtOnce>(
      w, begin, end, [&]<int kPanels>(const Streams& s) __attribute__((always_inline)) {
        row_blocks_of<kCodes, kBook, kKind, kPanels>(w, s, x, bias, y);
      });
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
