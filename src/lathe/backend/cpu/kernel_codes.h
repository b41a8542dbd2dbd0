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

// The rows of w that panel n holds.
LANE int64_t rows_of(const PackedView* w, int64_t n) {
  const int64_t left = w->rows - n * kPanel;
  return left < kPanel ? left : kPanel;
}

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

// The map of nested absmax (layouts.h: dynamic_map). With code − 127 = ±j and j in [2^d, 2^(d+1))
// it is ±10^(d−6)·(0.1 + 0.9·(j + ½ − 2^d) / 2^d), or ±1 at j = 128: linear in j between powers of
// two. By the low four bits of the exponent of j, d + 127.
constexpr float kMapAt[16] = {-0.575e-5f,
                              -0.6875e-4f,
                              -0.74375e-3f,
                              -0.771875e-2f,
                              -0.7859375e-1f,
                              -0.79296875f,
                              1,
                              0,
                              0,
                              0,
                              0,
                              0,
                              0,
                              0,
                              0,
                              -0.35e-6f};
constexpr float kMapSlope[16] = {
    0.45e-5f, 0.225e-4f, 0.1125e-3f, 0.05625e-2f, 0.028125e-1f, 0.0140625f, 0, 0, 0, 0, 0,
    0,        0,         0,          0,           0.9e-6f};

LANE F nested_map(const uint8_t* codes) {
  const F j = sub(load_u8(codes), set1(127.0f));
  const F size = max(j, sub(zero(), j));
  const I index = exponent_of(size);
  const F value =
      fma(lookup(load_table(kMapSlope), index), size, lookup(load_table(kMapAt), index));
  return mul(value, max(min(j, set1(1.0f)), set1(-1.0f)));
}

// Scales `at` of a group, `super` being what its super-block holds.
template <Scales kKind>
LANE F scale_of(const PackedView* w, int64_t at, const F& super) {
  const auto* bytes = static_cast<const uint8_t*>(w->scales);
  if constexpr (kKind == Scales::kF32) {
    return load(static_cast<const float*>(w->scales) + at);
  } else if constexpr (kKind == Scales::kF16) {
    return load_f16(static_cast<const uint16_t*>(w->scales) + at);
  } else if constexpr (kKind == Scales::kSuper) {
    return mul(super, load_i8(bytes + at));
  } else if constexpr (kKind == Scales::kE8M0) {
    return mul(load_e8m0(bytes + at), set1(w->scale_factor));
  } else if constexpr (kKind == Scales::kE4M3) {
    return mul(load_e4m3(bytes + at), set1(w->scale_factor));
  } else if constexpr (kKind == Scales::kNested) {
    return fma(nested_map(bytes + at), super, set1(w->scale_factor));
  } else {
    return set1(1.0f);
  }
}

// What the super-block whose values begin at `at` holds for its groups.
template <Scales kKind>
LANE F super_of(const PackedView* w, int64_t at) {
  if constexpr (kKind == Scales::kSuper) return load_f16(w->super_scales + at);
  if constexpr (kKind == Scales::kNested) return load(w->super_floats + at);
  return zero();
}

// kSuper: what the groups of a super-block have in common, times the scale of x there.
LANE F super_scale(const PackedView* w, int64_t at, float x_scale) {
  return mul(load_f16(w->super_scales + at), set1(x_scale));
}
LANE F super_min(const PackedView* w, int64_t at) {
  return sub(zero(), load_f16(w->super_mins + at));
}

template <Scales kKind>
LANE F group_scale_of(const PackedView* w, int64_t panel, int64_t g) {
  F super = zero();
  if constexpr (kKind == Scales::kSuper || kKind == Scales::kNested) {
    super = super_of<kKind>(w, (panel * w->supers + g / w->groups_per_super) * kPanel);
  }
  return scale_of<kKind>(w, (panel * w->groups + g) * kPanel, super);
}

LANE F group_scale(const PackedView* w, int64_t panel, int64_t g) {
  switch (w->scale_kind) {
    case Scales::kF32:
      return group_scale_of<Scales::kF32>(w, panel, g);
    case Scales::kF16:
      return group_scale_of<Scales::kF16>(w, panel, g);
    case Scales::kSuper:
      return group_scale_of<Scales::kSuper>(w, panel, g);
    case Scales::kE8M0:
      return group_scale_of<Scales::kE8M0>(w, panel, g);
    case Scales::kE4M3:
      return group_scale_of<Scales::kE4M3>(w, panel, g);
    case Scales::kNested:
      return group_scale_of<Scales::kNested>(w, panel, g);
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
