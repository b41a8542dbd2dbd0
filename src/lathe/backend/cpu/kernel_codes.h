// Reading packed weights over lanes: codes to f32 columns, scales and offsets of a group. Included
// after lanes_*.h, once per instruction set.
#pragma once

#include "lathe/backend/cpu/kernels.h"

namespace lathe::cpu {
namespace {

// Bytes of 8 columns × 16 rows.
template <Codes kCodes>
constexpr int64_t kStepBytes = kCodes == Codes::kF32                             ? 512
                               : kCodes == Codes::kF16 || kCodes == Codes::kBf16 ? 256
                               : kCodes == Codes::kInt8                          ? 128
                               : kCodes == Codes::kInt4                          ? 64
                                                                                 : 32;
template <Codes kCodes>
constexpr int kLowBits = kCodes == Codes::kInt2 ? 2 : 4;

struct Tables {
  Table low, high;
};

// Where the field of kBits of column k + J stands in a dword of packed codes (k a multiple of 8).
template <int kBits, int J>
constexpr int kShift = 8 * (J % 4) + kBits*(J / 4);

// The unscaled weights of column k + J (k a multiple of 8) from the packed step at `p`.
template <Codes kCodes, int kHigh, int J>
LANE F column(const Tables& tables, const uint8_t* p, const I& low, const I& high) {
  if constexpr (kCodes == Codes::kF32) {
    return load(reinterpret_cast<const float*>(p) + J * kPanel);
  } else if constexpr (kCodes == Codes::kF16) {
    return load_f16(p + J * 32);
  } else if constexpr (kCodes == Codes::kBf16) {
    const I pair = load_int(p + J / 2 * 64);
    return J % 2 == 0 ? bf16_low(pair) : bf16_high(pair);
  } else if constexpr (kCodes == Codes::kInt8) {
    return byte_of<J % 4>(load_int(p + J / 4 * 64));
  } else if constexpr (kHigh == 0) {
    return lookup(tables.low, shift_right<kShift<kLowBits<kCodes>, J>>(low));
  } else {
    return add(lookup(tables.low, shift_right<kShift<kLowBits<kCodes>, J>>(low)),
               lookup(tables.high, shift_right<kShift<kHigh, J>>(high)));
  }
}

// Calls fn.template at<J>(weights) for the eight columns of a step.
template <Codes kCodes, int kHigh, typename Fn>
LANE void step(const Tables& tables, const uint8_t* p, const uint8_t* panel_high, int64_t k,
               Fn& fn) {
  I low{}, high{};
  if constexpr (kCodes == Codes::kInt4) low = load_int(p);
  if constexpr (kCodes == Codes::kInt2) {  // two steps share a vector
    low = shift_right(load_int(p - (k & 8) * 4), static_cast<int>(k & 8) / 2);
  }
  if constexpr (kHigh > 0) {
    constexpr int64_t kColumns = 32 / kHigh;
    high = shift_right(load_int(panel_high + k / kColumns * 64),
                       static_cast<int>(k % kColumns / 8) * 2 * kHigh);
  }
  fn.template at<0>(column<kCodes, kHigh, 0>(tables, p, low, high));
  fn.template at<1>(column<kCodes, kHigh, 1>(tables, p, low, high));
  fn.template at<2>(column<kCodes, kHigh, 2>(tables, p, low, high));
  fn.template at<3>(column<kCodes, kHigh, 3>(tables, p, low, high));
  fn.template at<4>(column<kCodes, kHigh, 4>(tables, p, low, high));
  fn.template at<5>(column<kCodes, kHigh, 5>(tables, p, low, high));
  fn.template at<6>(column<kCodes, kHigh, 6>(tables, p, low, high));
  fn.template at<7>(column<kCodes, kHigh, 7>(tables, p, low, high));
}

LANE F group_scale(const PackedView* w, int64_t panel, int64_t g) {
  const int64_t at = (panel * w->groups + g) * kPanel;
  switch (w->scale_kind) {
    case Scales::kF32:
      return load(static_cast<const float*>(w->scales) + at);
    case Scales::kF16:
      return load_f16(static_cast<const uint16_t*>(w->scales) + at);
    case Scales::kSuper: {
      const int64_t super = (panel * w->supers + g / w->groups_per_super) * kPanel;
      return mul(load_f16(w->super_scales + super),
                 load_i8(static_cast<const int8_t*>(w->scales) + at));
    }
    case Scales::kNone:
      break;
  }
  return set1(1.0f);
}

LANE bool has_offset(const PackedView* w) { return w->zeros || w->offsets || w->mins; }

// What is added to scale · value.
LANE F group_offset(const PackedView* w, int64_t panel, int64_t g, const F& scale) {
  const int64_t at = (panel * w->groups + g) * kPanel;
  if (w->zeros) return sub(zero(), mul(scale, load_u8(w->zeros + at)));
  if (w->offsets) return load_f16(w->offsets + at);
  const int64_t super = (panel * w->supers + g / w->groups_per_super) * kPanel;
  return sub(zero(), mul(load_f16(w->super_mins + super), load_u8(w->mins + at)));
}

}  // namespace
}  // namespace lathe::cpu
