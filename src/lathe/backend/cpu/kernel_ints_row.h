// One row of x times packed integer codes: what decoding a single sequence does all day. The same
// integers and the same floats as codes_panel() in kernel_ints.h; but the kind of scales and the
// size of groups are known, and no place is computed from the number of tokens: what a group costs
// beside its codes decides over groups of 16 and 32 columns.
#pragma once

#include "lathe/backend/cpu/kernel_ints_supers.h"

namespace lathe::cpu {
namespace {

// Asks for a line of `values`, [16] of `size` bytes each per group, if one begins with the group at
// `at`: what is read when the next panels are, `next` further on.
LANE void prefetch_next(const void* values, int64_t size, int64_t at, int64_t next) {
  if (at * size % 64 == 0) prefetch(static_cast<const uint8_t*>(values) + (at + next) * size);
}
// The same for all that a group has beside its codes.
LANE void prefetch_scales(const PackedView* w, Scales kind, bool offset, int64_t at, int64_t next) {
  prefetch_next(w->scales, kind == Scales::kF32 ? 4 : kind == Scales::kF16 ? 2 : 1, at, next);
  if (!offset) return;
  if (w->zeros) prefetch_next(w->zeros, 1, at, next);
  if (w->offsets) prefetch_next(w->offsets, 2, at, next);
  if (kind == Scales::kSuper && w->mins) prefetch_next(w->mins, 1, at, next);
}

// Groups of kGroup columns, a multiple of 32 and at most a block, that fill the rows, or groups of
// 16 without further bits.
template <Codes kCodes, int kHigh, bool kBook, bool kOffset, Scales kKind, int kGroup, int kPanels>
LANE void row_groups_of(const PackedView* w, const Streams& streams, const QuantizedView* x,
                        const float* bias, float* y) {
  constexpr bool kSigned = kCodes == Codes::kInt8 || kBook;
  constexpr bool kNested = kKind == Scales::kNested;
  constexpr int kColumns = kGroup < 32 ? kGroup : 32;  // unrolled
  constexpr int64_t kGroupBytes = kGroup / 8 * kStepBytes<kCodes>;
  constexpr int64_t kHighAhead = kHigh > 0 ? kAhead * kHigh / kLowBits<kCodes> : 0;
  static_assert(kHigh <= 1 && kKind != Scales::kSuper);
  using Products = RowProducts<kCodes, kHigh, kBook, kColumns / 4, kPanels, kGroup <= 32>;
  const Bytes16 book = load_book(w->book);
  const auto code_zero = static_cast<uint32_t>(kSigned ? kSignedZero : w->code_zero);
  const F unit = set1(w->unit);
  const int64_t groups = w->groups, next_groups = (1 + streams.skip) * groups * kPanel;
  const int8_t *highs = x->high, *lows = x->low;
  const uint8_t *p[kPanels], *high_plane[kPanels];
  int64_t at[kPanels], super_at[kPanels], in_super = 0;
  F super[kPanels], total[kPanels];
  unrolled<kPanels>([&](auto i) UNROLLED {
    const int64_t n = streams.at(i);
    p[i] = w->data + n * w->panel_bytes;
    high_plane[i] = kHigh > 0 ? w->high + n * w->high_panel_bytes : nullptr;
    at[i] = n * groups * kPanel;
    super_at[i] = n * w->supers * kPanel;
    super[i] = zero();
    total[i] = bias ? load_part(bias + n * kPanel, rows_of(w, n)) : zero();
  });
  for (int64_t g = 0; g < groups; ++g) {
    typename Products::Sums high_sums[kPanels], low_sums[kPanels];
    const I start = without_zeros(code_zero, x->code_sums[g]);
    unrolled<kPanels>([&](auto i) UNROLLED {
      high_sums[i].start(zero_int());
      low_sums[i].start(start);
    });
    const int64_t ahead = ahead_of(g * kGroupBytes, w->panel_bytes, streams);
    for (int c = 0; c < kGroup / kColumns; ++c) {
      I bits[kPanels];
      unrolled<kPanels>([&](auto i) UNROLLED {
        if constexpr (kHigh > 0) {
          const int64_t jump = ahead == kAhead ? 0 : streams.skip * w->high_panel_bytes;
          bits[i] = load_int(high_plane[i]);
          prefetch(high_plane[i] + kHighAhead + jump);
          high_plane[i] += 64;
        }
      });
      Products{high_sums, low_sums}.add(book, p, bits, highs, lows, ahead);
      unrolled<kPanels>([&](auto i) UNROLLED { p[i] += kColumns / 8 * kStepBytes<kCodes>; });
      highs += kColumns;
      lows += kColumns;
    }
    if constexpr (kNested) {
      if (in_super == 0) {
        const int64_t next_supers = (1 + streams.skip) * w->supers * kPanel;
        in_super = w->groups_per_super;
        unrolled<kPanels>([&](auto i) UNROLLED {
          prefetch(w->super_floats + super_at[i] + next_supers);
          super[i] = super_of<kKind>(w, super_at[i]);
          super_at[i] += kPanel;
        });
      }
      --in_super;
    }
    unrolled<kPanels>([&](auto i) UNROLLED {
      const F sum =
          mul(to_float(join(high_sums[i].total(), low_sums[i].total())), set1(x->scales[g]));
      prefetch_scales(w, kKind, kOffset, at[i], next_groups);
      F scale = scale_of<kKind>(w, at[i], super[i]);
      if constexpr (kOffset) {
        total[i] = fma(group_offset(w, streams.at(i), g, scale), set1(x->sums[g]), total[i]);
      }
      if constexpr (kBook) scale = mul(scale, unit);
      total[i] = fma(scale, sum, total[i]);
      at[i] += kPanel;
    });
  }
  unrolled<kPanels>([&](auto i) UNROLLED {
    const int64_t n = streams.at(i);
    store_part(y + n * kPanel, total[i], rows_of(w, n));
  });
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
  F total[kPanels];
  for (int i = 0; i < kPanels; ++i) {
    const int64_t n = streams.at(i);
    p[i] = w->data + n * w->panel_bytes;
    total[i] = bias ? load_part(bias + n * kPanel, rows_of(w, n)) : zero();
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
        Products{high_sums, low_sums}.template add<0>(book, p, none, highs, lows, ahead);
        for (int i = 0; i < kPanels; ++i) p[i] += 4 * kStep;
      }
      for (; left > 0; left -= 8, highs += 8, lows += 8) {
        RowProducts<kCodes, 0, kBook, 2, kPanels, false>{high_sums, low_sums}.template add<0>(
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
  for (int i = 0; i < kPanels; ++i) {
    const int64_t n = streams.at(i);
    store_part(y + n * kPanel, total[i], rows_of(w, n));
  }
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
#define LATHE_SUPERS(group) \
  row_supers_of_size<kCodes, kHigh, kOffset, group>(w, begin, end, x, bias, y)
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
    if constexpr (kOffset) return LATHE_SUPERS(32);
    if (w->scale_kind != Scales::kF32) return false;
    row_blocks<kCodes, false, Scales::kF32>(w, begin, end, x, bias, y);
    return true;
  } else if constexpr (kCodes == Codes::kInt4 && kHigh == 1) {
    if (w->scale_kind == Scales::kF16) return LATHE_ROW(kF16, 32);
    if constexpr (kOffset) return LATHE_SUPERS(32);
  } else if constexpr (kCodes == Codes::kInt4 && kHigh == 2 && !kOffset) {
    return LATHE_SUPERS(16);
  } else if constexpr (kCodes == Codes::kInt2) {
    if (w->scale_kind == Scales::kF16) return LATHE_ROW(kF16, 32, 64, 128);
    if constexpr (kOffset == (kHigh == 0)) {
      return LATHE_SUPERS(16);
    }
  }
#undef LATHE_SUPERS
#undef LATHE_ROW
  return false;
}

}  // namespace
}  // namespace lathe::cpu
