// One row of x times K-types. Their groups of 16 or 32 columns share a super-block's scale, and x
// has one scale for each super-block: a group costs one product of its sums with its integer scale,
// and what is common enters once per 256 columns. The same floats as Totals in kernel_ints.h.
// Included after lanes_codes_*.h, once per instruction set.
#pragma once

#include "lathe/backend/cpu/kernel_row_products.h"

namespace lathe::cpu {
namespace {

template <Codes kCodes, int kHigh, bool kOffset, int kGroup, int kPanels>
LANE void row_supers_of(const PackedView* w, const Streams& streams, const QuantizedView* x,
                        const float* bias, float* y) {
  constexpr int kGroups = kQuantBlock / kGroup;
  constexpr int kQuads = kGroup / 4;
  constexpr int kGroupsOfLine = 64 / kPanel;  // of scales
  constexpr int64_t kGroupBytes = kGroup / 8 * kStepBytes<kCodes>;
  // Groups that share a vector of further bits.
  constexpr int kTogether = kHigh == 1 && kGroup == 16 ? 2 : 1;
  // Whole super-blocks ahead, so that one jump to the next panels serves all of a super-block.
  constexpr int64_t kSuperBytes = kGroups * kGroupBytes;
  constexpr int64_t kDistance = kAhead / kSuperBytes * kSuperBytes;
  static_assert(kDistance > 0);
  constexpr int64_t kHighDistance = kHigh > 0 ? kDistance * kHigh / kLowBits<kCodes> : 0;
  using Products = RowProducts<kCodes, kHigh, false, kQuads, kPanels, true>;
  const Bytes16 book = load_book(w->book);
  const auto code_zero = static_cast<uint32_t>(w->code_zero);
  const int64_t next_supers = (1 + streams.skip) * w->supers * kPanel;
  const int64_t next_scales = (1 + streams.skip) * w->groups * kPanel;
  const int8_t *highs = x->high, *lows = x->low;
  const auto* all_scales = static_cast<const uint8_t*>(w->scales);
  const uint8_t *p[kPanels], *high_plane[kPanels], *scales[kPanels], *mins[kPanels];
  F total[kPanels];
  unrolled<kPanels>([&](auto i) UNROLLED {
    const int64_t n = streams.at(i);
    p[i] = w->data + n * w->panel_bytes;
    high_plane[i] = kHigh > 0 ? w->high + n * w->high_panel_bytes : nullptr;
    scales[i] = all_scales + n * w->groups * kPanel;
    mins[i] = kOffset ? w->mins + n * w->groups * kPanel : nullptr;
    total[i] = bias ? load_part(bias + n * kPanel, rows_of(w, n)) : zero();
  });
  for (int64_t s = 0; s < w->supers; ++s) {
    const int64_t ahead = ahead_of<kDistance>(s * kSuperBytes, w->panel_bytes, streams);
    const int64_t high_ahead =
        kHighDistance + (ahead == kDistance ? 0 : streams.skip * w->high_panel_bytes);
    F super_total[kPanels], min_total[kPanels];
    unrolled<kPanels>([&](auto i) UNROLLED { super_total[i] = min_total[i] = zero(); });
    const int32_t* code_sums = x->code_sums + s * kGroups;
    const float* sums = x->sums + s * kGroups;
    for (int g = 0; g < kGroups; g += kTogether) {
      // The next panels' scales and, between them, their minima.
      if (g % kGroupsOfLine == 0) {
        unrolled<kPanels>([&](auto i) UNROLLED { prefetch(scales[i] + next_scales); });
      } else if (kOffset && g % kGroupsOfLine == kGroupsOfLine / 2) {
        unrolled<kPanels>([&](auto i) UNROLLED { prefetch(mins[i] + next_scales); });
      }
      I bits[kPanels];
      unrolled<kPanels>([&](auto i) UNROLLED {
        if constexpr (kHigh > 0) {
          bits[i] = load_int(high_plane[i]);
          prefetch(high_plane[i] + high_ahead);
          high_plane[i] += 64;
        }
      });
      unrolled<kTogether>([&](auto part) UNROLLED {
        constexpr int kPart = decltype(part)::kIndex;
        typename Products::Sums high_sums[kPanels], low_sums[kPanels];
        // Codes with a minimum have no zero besides.
        const I start = kOffset ? zero_int() : without_zeros(code_zero, code_sums[g + kPart]);
        unrolled<kPanels>([&](auto i) UNROLLED {
          high_sums[i].start(zero_int());
          low_sums[i].start(start);
        });
        Products{high_sums, low_sums}.template add<4 * kPart>(book, p, bits, highs, lows, ahead);
        highs += kGroup;
        lows += kGroup;
        unrolled<kPanels>([&](auto i) UNROLLED {
          p[i] += kGroupBytes;
          const I joined = join(high_sums[i].total(), low_sums[i].total());
          super_total[i] = fma(load_i8(scales[i]), to_float(joined), super_total[i]);
          scales[i] += kPanel;
          if constexpr (kOffset) {
            min_total[i] = fma(load_u8(mins[i]), set1(sums[g + kPart]), min_total[i]);
            mins[i] += kPanel;
          }
        });
      });
    }
    unrolled<kPanels>([&](auto i) UNROLLED {
      const int64_t at = (streams.at(i) * w->supers + s) * kPanel;
      prefetch(w->super_scales + at + next_supers);
      if constexpr (kOffset) prefetch(w->super_mins + at + next_supers);
      total[i] = fma(super_total[i], super_scale(w, at, x->scales[s]), total[i]);
      if constexpr (kOffset) total[i] = fma(min_total[i], super_min(w, at), total[i]);
    });
  }
  unrolled<kPanels>([&](auto i) UNROLLED {
    const int64_t n = streams.at(i);
    store_part(y + n * kPanel, total[i], rows_of(w, n));
  });
}

template <Codes kCodes, int kHigh, bool kOffset, int kGroup>
void row_supers(const PackedView* w, int64_t begin, int64_t end, const QuantizedView* x,
                const float* bias, float* y) noexcept {
  for_streams<kStreamsAtOnce>(
      w, begin, end, [&]<int kPanels>(const Streams& s) __attribute__((always_inline)) {
        row_supers_of<kCodes, kHigh, kOffset, kGroup, kPanels>(w, s, x, bias, y);
      });
}

// False where the groups are others.
template <Codes kCodes, int kHigh, bool kOffset, int kGroup>
bool row_supers_of_size(const PackedView* w, int64_t begin, int64_t end, const QuantizedView* x,
                        const float* bias, float* y) noexcept {
  if (w->scale_kind != Scales::kSuper || w->group != kGroup) return false;
  if (kOffset && w->code_zero != 0) return false;
  if (w->group * w->groups_per_super != kQuantBlock || w->group * w->groups != w->cols)
    return false;
  row_supers<kCodes, kHigh, kOffset, kGroup>(w, begin, end, x, bias, y);
  return true;
}

}  // namespace
}  // namespace lathe::cpu
