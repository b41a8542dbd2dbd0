// One row of x times packed integer codes: what decoding a single sequence does all day. The same
// integers and the same floats as codes_panel() in kernel_ints.h; but the kind of scales is known,
// the codes of 32 columns are unrolled, and no place is computed from the number of tokens.
#pragma once

#include "lathe/backend/cpu/kernel_codes.h"

namespace lathe::cpu {
namespace {

// Columns that one round of the inner loop takes: those that share a vector of codes.
template <Codes kCodes, int kHigh>
constexpr int64_t kUnit = kCodes == Codes::kInt2 || kHigh == 2 ? 16
                          : kHigh == 1                         ? 32
                                                               : 8;

// The bytes of columns k + 4·Q … k + 4·Q + 3, k the first of a unit.
template <Codes kCodes, int kHigh, bool kBook, int Q>
LANE I bytes_of(const Bytes16& book, const uint8_t* p, const I& high) {
  if constexpr (kCodes == Codes::kInt8) {
    return from_signed(load_int(p + Q * 64));
  } else {
    constexpr int kBits = kLowBits<kCodes>, kPerByte = 8 / kBits;
    constexpr int kMask = (1 << kBits) - 1;
    const I low = and_bytes(shift<kBits*(Q % kPerByte)>(load_int(p + Q / kPerByte * 64)), kMask);
    if constexpr (kBook) return lookup_bytes(book, low);
    if constexpr (kHigh == 0) return low;
    return or_masked(low, shift<kHigh * Q - kBits>(high), ((1 << kHigh) - 1) << kBits);
  }
}

template <Codes kCodes, int kHigh, bool kBook, int Q, int kQuads, typename Sums>
LANE void quads(const Bytes16& book, const uint8_t* p, const I& high, const int8_t* highs,
                const int8_t* lows, Sums& sums) {
  if constexpr (Q < kQuads) {
    sums.template at<Q>(bytes_of<kCodes, kHigh, kBook, Q>(book, p, high), highs, lows);
    quads<kCodes, kHigh, kBook, Q + 1, kQuads>(book, p, high, highs, lows, sums);
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

template <Codes kCodes, int kHigh, bool kBook, bool kOffset, Scales kKind>
void row_panels(const PackedView* w, int64_t begin, int64_t end, const QuantizedView* x,
                const float* bias, float* y) noexcept {
  constexpr bool kSigned = kCodes == Codes::kInt8 || kBook;
  constexpr int64_t kColumns = kUnit<kCodes, kHigh>;
  constexpr int64_t kRunBytes = 4 * kStepBytes<kCodes>;  // of 32 columns
  constexpr bool kSupers = kKind == Scales::kSuper || kKind == Scales::kNested;
  using Sums = RowSums<kSigned, kQuadsInPairs<kCodes, kHigh, kBook>>;
  const Bytes16 book = load_book(w->book);
  const I code_zero = set1_int(kSigned ? kSignedZero : w->code_zero);
  const int64_t group = w->group, groups = w->groups, cols = w->cols, block = x->block;
  for (int64_t panel = begin; panel < end; ++panel) {
    const uint8_t* p = w->data + panel * w->panel_bytes;
    const uint8_t* high_plane = kHigh > 0 ? w->high + panel * w->high_panel_bytes : nullptr;
    const int64_t rows = w->rows - panel * kPanel < kPanel ? w->rows - panel * kPanel : kPanel;
    int64_t at = panel * groups * kPanel, super_at = panel * w->supers * kPanel, in_super = 0;
    F super = zero(), super_min = zero();
    F total = bias ? load_part(bias + panel * kPanel, rows) : zero();
    for (int64_t g = 0, from = 0; g < groups; ++g, at += kPanel) {
      const int64_t last = from + group < cols ? from + group : cols;
      F group_total = zero();
      for (int64_t b = g * x->blocks; from < last; ++b) {
        const int64_t to = from + block < last ? from + block : last;
        const int8_t *highs = x->high + from, *lows = x->low + from;
        int64_t left = to - from;
        Sums high_sums, low_sums;
        high_sums.clear();
        low_sums.clear();
        const auto unit = [&]<int64_t kStep>(const I& high) __attribute__((always_inline)) {
          RowProducts<kCodes, kHigh, kBook, kStep / 4> products{high_sums, low_sums};
          quads<kCodes, kHigh, kBook, 0, kStep / 4>(book, p, high, highs, lows, products);
          p += kStep / 8 * kStepBytes<kCodes>;
          highs += kStep;
          lows += kStep;
        };
        if constexpr (kHigh == 0) {
          for (; left >= 32; left -= 32) {
            for (int64_t line = 0; line < kRunBytes; line += 64) prefetch(p + 2048 + line);
            unit.template operator()<32>(zero_int());
          }
        }
        for (int64_t k = to - left; k < to; k += kColumns) {
          prefetch(p + 2048);
          I high = zero_int();
          if constexpr (kHigh > 0) {
            constexpr int64_t kOfVector = 32 / kHigh;
            high = load_int(high_plane + k / kOfVector * 64);
            if constexpr (kOfVector > kColumns) {
              high = shift_right(high, static_cast<int>(k % kOfVector / 4) * kHigh);
            }
            if constexpr (kColumns == 32) {
              for (int64_t line = 64; line < kRunBytes; line += 64) prefetch(p + 2048 + line);
            }
          }
          unit.template operator()<kColumns>(high);
        }
        const I zeros = mul_int(code_zero, set1_int(x->code_sums[b]));
        const I joined = sub_int(join(high_sums.total(), low_sums.total()), zeros);
        group_total = fma(to_float(joined), set1(x->scales[b]), group_total);
        from = to;
      }
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
      if constexpr (kBook) scale = mul(scale, set1(w->unit));
      total = fma(scale, group_total, total);
    }
    store_part(y + panel * kPanel, total, rows);
  }
}

// False if no packer gives these codes such scales: then the general kernel does it.
template <Codes kCodes, int kHigh, bool kBook, bool kOffset>
bool row_of(const PackedView* w, int64_t begin, int64_t end, const QuantizedView* x,
            const float* bias, float* y) noexcept {
  constexpr bool kWhole = kHigh == 0 && kCodes != Codes::kInt2;  // whole or half bytes
  switch (w->scale_kind) {
    case Scales::kF32:
      if constexpr (kWhole && !kOffset) {
        row_panels<kCodes, kHigh, kBook, false, Scales::kF32>(w, begin, end, x, bias, y);
        return true;
      }
      return false;
    case Scales::kF16:
      if constexpr (kHigh < 2 && !(kOffset && (kBook || kCodes == Codes::kInt8))) {
        row_panels<kCodes, kHigh, kBook, kOffset, Scales::kF16>(w, begin, end, x, bias, y);
        return true;
      }
      return false;
    case Scales::kSuper:
      if constexpr (kCodes != Codes::kInt8 && !kBook) {
        row_panels<kCodes, kHigh, kBook, kOffset, Scales::kSuper>(w, begin, end, x, bias, y);
        return true;
      }
      return false;
    case Scales::kE8M0:
    case Scales::kE4M3:
    case Scales::kNested:
      if constexpr (kBook && !kOffset) {
        if (w->scale_kind == Scales::kE8M0) {
          row_panels<kCodes, kHigh, kBook, false, Scales::kE8M0>(w, begin, end, x, bias, y);
        } else if (w->scale_kind == Scales::kE4M3) {
          row_panels<kCodes, kHigh, kBook, false, Scales::kE4M3>(w, begin, end, x, bias, y);
        } else {
          row_panels<kCodes, kHigh, kBook, false, Scales::kNested>(w, begin, end, x, bias, y);
        }
        return true;
      }
      return false;
    case Scales::kNone:
      break;
  }
  return false;
}

}  // namespace
}  // namespace lathe::cpu
