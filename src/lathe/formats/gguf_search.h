// The search for the scale (and minimum) that a run of weights shares, so that the weighted squared
// error of rounding them is least. For the encoders in gguf_fit.cc; not for the layers above.
//
// A run is N weights x with N positive factors w; codes are the integers nearest to x under a
// scale, within [low, high]. The error as a function of the scale is smooth only where no code
// changes, so scales are tried on a grid, codes first, and for given codes the best scale is that
// of least squares. The winner is then rounded and fitted again until that helps no more.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace lathe::gguf {

constexpr int kLanes = 8;  // sums that are kept apart, so that the loops vectorise

// Nearest integer, ties to even, for |v| < 2^22.
inline float nearest(float v) { return (v + 0x1.8p23f) - 0x1.8p23f; }
// Not a number becomes `low`: weights near the largest float make infinite scales, which the caller
// refuses afterwards.
inline float clamped(float v, float low, float high) {
  v = v > low ? v : low;
  return v > high ? high : v;
}
inline float sum_lanes(const float* lanes) {
  return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) +
         ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}
inline float inverse_or_zero(float d) {
  const float inverse = d == 0.0f ? 0.0f : 1.0f / d;
  return std::isfinite(inverse) ? inverse : 0.0f;
}

// x ≈ scale · q, q in [low, high].
struct Range {
  float low, high;
};

struct ScaleSums {  // Σ w x q, Σ w q²
  float xq, qq;
  float scale() const { return qq > 0 ? xq / qq : 0.0f; }
  float gain() const { return qq > 0 ? xq * xq / qq : 0.0f; }  // how much less than Σ w x²
};
template <int N>
ScaleSums scale_sums(const float* x, const float* w, float inverse, Range range) {
  float xq[kLanes] = {}, qq[kLanes] = {};
  for (int i = 0; i < N; i += kLanes) {
    for (int l = 0; l < kLanes; ++l) {
      const float q = nearest(clamped(x[i + l] * inverse, range.low, range.high));
      const float wq = w[i + l] * q;
      xq[l] += wq * x[i + l];
      qq[l] += wq * q;
    }
  }
  return {sum_lanes(xq), sum_lanes(qq)};
}

template <int N>
float scale_error(const float* x, const float* w, float scale, Range range) {
  const float inverse = inverse_or_zero(scale);
  float error[kLanes] = {};
  for (int i = 0; i < N; i += kLanes) {
    for (int l = 0; l < kLanes; ++l) {
      const float q = nearest(clamped(x[i + l] * inverse, range.low, range.high));
      const float e = x[i + l] - scale * q;
      error[l] += w[i + l] * e * e;
    }
  }
  return sum_lanes(error);
}

template <int N>
float largest(const float* x) {
  float most = 0;
  for (int i = 0; i < N; ++i) most = std::max(most, std::fabs(x[i]));
  return most;
}

// The best scale; of either sign, as ranges such as −8…7 are not symmetric. `steps` points of the
// grid put the largest weight at `first` to `last` times the longer end of the range.
struct ScaleGrid {
  int steps;
  float first, last;
};
template <int N>
float fit_scale(const float* x, const float* w, Range range, ScaleGrid grid) {
  const float most = largest<N>(x);
  if (most == 0) return 0;
  const float end = std::max(-range.low, range.high);
  ScaleSums best{0, 0};
  float best_gain = -1;
  for (int sign = -1; sign <= (range.low == -range.high ? -1 : 1); sign += 2) {
    for (int i = 0; i < grid.steps; ++i) {
      const float at = grid.first + (grid.last - grid.first) * static_cast<float>(i) /
                                        static_cast<float>(grid.steps - 1);
      const float inverse = inverse_or_zero(static_cast<float>(sign) * most / (end * at));
      const ScaleSums sums = scale_sums<N>(x, w, inverse, range);
      if (sums.gain() <= best_gain) continue;
      best_gain = sums.gain();
      best = sums;
    }
  }
  for (int round = 0; round < 8; ++round) {
    const ScaleSums sums = scale_sums<N>(x, w, inverse_or_zero(best.scale()), range);
    if (sums.gain() <= best_gain) break;
    best_gain = sums.gain();
    best = sums;
  }
  return best.scale();
}

// x ≈ scale · q − min, q in [0, most].
struct ScaleMinFit {
  float scale, min;
};

// With codes q: everything that the error depends on. w is Σ w, and so on.
struct MinSums {
  float w = 0, x = 0, xx = 0, q = 0, qq = 0, xq = 0;

  float error(float scale, float min) const {
    return xx - 2 * scale * xq + 2 * min * x + scale * (scale * qq - 2 * min * q) + min * min * w;
  }
  float best_min(float scale) const { return (scale * q - x) / w; }
  // Least squares; where `positive`, min ≥ 0.
  ScaleMinFit best(bool positive) const {
    const float determinant = w * qq - q * q;
    ScaleMinFit fit{determinant > 0 ? (w * xq - x * q) / determinant : 0.0f, 0.0f};
    fit.min = best_min(fit.scale);
    if (positive && fit.min < 0) fit = {qq > 0 ? xq / qq : 0.0f, 0.0f};
    return fit;
  }
};
template <int N>
MinSums min_sums(const float* x, const float* w, ScaleMinFit fit, float most) {
  const float inverse = inverse_or_zero(fit.scale);
  float sums[6][kLanes] = {};
  for (int i = 0; i < N; i += kLanes) {
    for (int l = 0; l < kLanes; ++l) {
      const float q = nearest(clamped((x[i + l] + fit.min) * inverse, 0.0f, most));
      const float wx = w[i + l] * x[i + l], wq = w[i + l] * q;
      sums[0][l] += w[i + l];
      sums[1][l] += wx;
      sums[2][l] += wx * x[i + l];
      sums[3][l] += wq;
      sums[4][l] += wq * q;
      sums[5][l] += wx * q;
    }
  }
  return {sum_lanes(sums[0]), sum_lanes(sums[1]), sum_lanes(sums[2]),
          sum_lanes(sums[3]), sum_lanes(sums[4]), sum_lanes(sums[5])};
}

template <int N>
float min_error(const float* x, const float* w, ScaleMinFit fit, float most) {
  const float inverse = inverse_or_zero(fit.scale);
  float error[kLanes] = {};
  for (int i = 0; i < N; i += kLanes) {
    for (int l = 0; l < kLanes; ++l) {
      const float q = nearest(clamped((x[i + l] + fit.min) * inverse, 0.0f, most));
      const float e = x[i + l] - (fit.scale * q - fit.min);
      error[l] += w[i + l] * e * e;
    }
  }
  return sum_lanes(error);
}

// The best scale ≥ 0 and minimum; `positive`: min ≥ 0, as the K-types store it. The grid moves both
// ends of the range inwards (or outwards), in steps of a code.
template <int N>
ScaleMinFit fit_scale_min(const float* x, const float* w, float most, bool positive) {
  float low = x[0], high = x[0];
  for (int i = 1; i < N; ++i) {
    low = std::min(low, x[i]);
    high = std::max(high, x[i]);
  }
  if (positive) low = std::min(low, 0.0f);
  if (high <= low) return {0.0f, -low};
  constexpr float kMoves[] = {-0.3f, 0.0f, 0.3f, 0.6f, 1.0f, 1.6f, 2.4f};
  const float step = (high - low) / most;
  ScaleMinFit best{step, -low};
  float best_error = min_error<N>(x, w, best, most);
  for (const float a : kMoves) {
    for (const float b : kMoves) {
      if (a + b >= 0.7f * most) continue;
      const float from = low + a * step, to = high - b * step;
      if (positive && from > 0) continue;
      const MinSums sums = min_sums<N>(x, w, {(to - from) / most, -from}, most);
      const ScaleMinFit fit = sums.best(positive);
      const float error = sums.error(fit.scale, fit.min);
      if (fit.scale <= 0 || !(error < best_error)) continue;
      best_error = error;
      best = fit;
    }
  }
  for (int round = 0; round < 8; ++round) {
    const MinSums sums = min_sums<N>(x, w, best, most);
    const ScaleMinFit fit = sums.best(positive);
    const float error = sums.error(fit.scale, fit.min);
    if (fit.scale <= 0 || !(error < best_error)) break;
    best_error = error;
    best = fit;
  }
  return best;
}

}  // namespace lathe::gguf
