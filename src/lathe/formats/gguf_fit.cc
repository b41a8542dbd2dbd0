// Encoding ggml's blocks of 32 by search.
#include "lathe/formats/detail.h"
#include "lathe/formats/gguf_codec.h"
#include "lathe/formats/gguf_pack.h"
#include "lathe/formats/gguf_search.h"

namespace lathe::gguf {
namespace {

using formats::store;

constexpr ScaleGrid kGrid4{40, 0.75f, 1.6f}, kGrid5{48, 0.8f, 1.5f}, kGrid8{48, 0.94f, 1.1f};

// Codes under a scale that is the nearest F16 number to the best one.
void codes_of(const float* x, float scale, float min, Range range, int shift, uint8_t* q) {
  const float inverse = inverse_or_zero(scale);
  for (int i = 0; i < kSmall; ++i) {
    const float code = nearest(clamped((x[i] + min) * inverse, range.low, range.high));
    q[i] = static_cast<uint8_t>(static_cast<int>(code) + shift);
  }
}

float fitted(const float* x, const float* importance, Range range, ScaleGrid grid, uint16_t& d) {
  float w[kSmall];
  d = kInfinite;
  if (!weigh(x, importance, kSmall, w)) return 0;
  d = f32_to_f16(fit_scale<kSmall>(x, w, range, grid));
  return f16_to_f32(d);
}

// The minimum of Q4_1 and Q5_1 has its own F16, of either sign. `m` is minus the fitted one.
ScaleMinFit fitted_min(const float* x, const float* importance, float most, uint16_t& d,
                       uint16_t& m) {
  float w[kSmall];
  d = m = kInfinite;
  if (!weigh(x, importance, kSmall, w)) return {0, 0};
  const ScaleMinFit fit = fit_scale_min<kSmall>(x, w, most, false);
  d = f32_to_f16(fit.scale);
  m = f32_to_f16(-fit.min);
  return {f16_to_f32(d), -f16_to_f32(m)};
}

// The code whose value is nearest to v, for the values of IQ4_NL. Bounds between neighbours are
// whole halves, so twice v, rounded down, decides.
uint8_t iq4_code(float v) {
  static const std::array<uint8_t, 512> table = [] {
    std::array<uint8_t, 512> codes{};
    for (int at = 0; at < 512; ++at) {
      const float value = (static_cast<float>(at - 256) + 0.5f) / 2.0f;
      int best = 0;
      for (int c = 1; c < 16; ++c) {
        if (std::fabs(value - static_cast<float>(kIq4Values[c])) <
            std::fabs(value - static_cast<float>(kIq4Values[best]))) {
          best = c;
        }
      }
      codes[static_cast<size_t>(at)] = static_cast<uint8_t>(best);
    }
    return codes;
  }();
  const float twice = clamped(2.0f * v, -256.0f, 255.0f);
  return table[static_cast<size_t>(static_cast<int>(twice + 256.0f))];
}

ScaleSums iq4_sums(const float* x, const float* w, float inverse) {
  ScaleSums sums{0, 0};
  for (int i = 0; i < kSmall; ++i) {
    const auto q = static_cast<float>(kIq4Values[iq4_code(x[i] * inverse)]);
    sums.xq += w[i] * q * x[i];
    sums.qq += w[i] * q * q;
  }
  return sums;
}

float fit_iq4_scale(const float* x, const float* w) {
  const float most = largest<kSmall>(x);
  if (most == 0) return 0;
  ScaleSums best{0, 0};
  float best_gain = -1;
  const auto consider = [&](float inverse) {
    const ScaleSums sums = iq4_sums(x, w, inverse);
    if (sums.gain() <= best_gain) return false;
    best_gain = sums.gain();
    best = sums;
    return true;
  };
  constexpr int kSteps = 24;
  for (int i = 0; i < kSteps; ++i) {
    // The largest weight at a value of 92 to 180: the table ends at −127 and 113.
    const float inverse = (92.0f + 88.0f * static_cast<float>(i) / (kSteps - 1)) / most;
    consider(inverse);
    consider(-inverse);
  }
  for (int round = 0; round < 8 && consider(inverse_or_zero(best.scale())); ++round) {
  }
  return best.scale();
}

}  // namespace

void fit_q4_0(const float* x, const float* importance, uint8_t* block) {
  BlockQ4_0 b;
  uint8_t q[kSmall];
  const Range range{-8, 7};
  codes_of(x, fitted(x, importance, range, kGrid4, b.d), 0, range, 8, q);
  pack_nibbles(q, b.qs);
  store(block, 0, b);
}

void fit_q5_0(const float* x, const float* importance, uint8_t* block) {
  BlockQ5_0 b;
  uint8_t q[kSmall];
  const Range range{-16, 15};
  codes_of(x, fitted(x, importance, range, kGrid5, b.d), 0, range, 16, q);
  pack_fifth_bits(q, b.qh);
  pack_nibbles(q, b.qs);
  store(block, 0, b);
}

void fit_q8_0(const float* x, const float* importance, uint8_t* block) {
  BlockQ8_0 b;
  uint8_t q[kSmall];
  const Range range{-127, 127};
  codes_of(x, fitted(x, importance, range, kGrid8, b.d), 0, range, 0, q);
  std::copy(q, q + kSmall, reinterpret_cast<uint8_t*>(b.qs));
  store(block, 0, b);
}

void fit_q4_1(const float* x, const float* importance, uint8_t* block) {
  BlockQ4_1 b;
  uint8_t q[kSmall];
  const ScaleMinFit fit = fitted_min(x, importance, 15, b.d, b.m);
  codes_of(x, fit.scale, fit.min, {0, 15}, 0, q);
  pack_nibbles(q, b.qs);
  store(block, 0, b);
}

void fit_q5_1(const float* x, const float* importance, uint8_t* block) {
  BlockQ5_1 b;
  uint8_t q[kSmall];
  const ScaleMinFit fit = fitted_min(x, importance, 31, b.d, b.m);
  codes_of(x, fit.scale, fit.min, {0, 31}, 0, q);
  pack_fifth_bits(q, b.qh);
  pack_nibbles(q, b.qs);
  store(block, 0, b);
}

void fit_iq4_nl(const float* x, const float* importance, uint8_t* block) {
  BlockIQ4_NL b;
  uint8_t q[kSmall];
  float w[kSmall];
  b.d = kInfinite;
  float d = 0;
  if (weigh(x, importance, kSmall, w)) {
    b.d = f32_to_f16(fit_iq4_scale(x, w));
    d = f16_to_f32(b.d);
  }
  const float inverse = inverse_or_zero(d);
  for (int i = 0; i < kSmall; ++i) q[i] = iq4_code(x[i] * inverse);
  pack_nibbles(q, b.qs);
  store(block, 0, b);
}

}  // namespace lathe::gguf
