// Encoding ggml's K-types by search. A super-block of 256 weights has sub-blocks whose scales (and
// minima) are small integers times one F16. First each sub-block's own best scale is found as if it
// were free. Then factors d (and dmin) are tried under which those scales are nearly integers,
// judged by the second-order change of the error; the best few are carried out: for each sub-block
// the integers around are tried with the codes that they give, d (and dmin) are fitted again by
// least squares over the whole super-block, and so on while the error falls.
#include <array>
#include <limits>

#include "lathe/formats/detail.h"
#include "lathe/formats/gguf_codec.h"
#include "lathe/formats/gguf_pack.h"
#include "lathe/formats/gguf_search.h"

namespace lathe::gguf {
namespace {

using formats::store;

constexpr float kNone = std::numeric_limits<float>::infinity();
constexpr int kTried = 3;   // candidates for d that are carried out
constexpr int kRounds = 4;  // of fitting d again

// The best few by cost, ascending.
template <typename T>
class Best {
 public:
  void add(float cost, const T& value) {
    if (!(cost < entries_[kTried - 1].cost)) return;
    int at = kTried - 1;
    for (; at > 0 && cost < entries_[static_cast<size_t>(at - 1)].cost; --at) {
      entries_[static_cast<size_t>(at)] = entries_[static_cast<size_t>(at - 1)];
    }
    entries_[static_cast<size_t>(at)] = {cost, value};
  }
  struct Entry {
    float cost = kNone;
    T value{};
  };
  const std::array<Entry, kTried>& entries() const { return entries_; }

 private:
  std::array<Entry, kTried> entries_;
};

// --- w = d · s · q, of either sign ---

template <int N>
struct Scales {
  static constexpr int kSubs = kSuper / N;
  uint16_t d = kInfinite;
  std::array<int, kSubs> s{};
  float of(int sub) const {
    return f16_to_f32(d) * static_cast<float>(s[static_cast<size_t>(sub)]);
  }
};

template <int N>
class ScaleSearch {
 public:
  using Result = Scales<N>;
  ScaleSearch(const float* x, const float* w, Range codes, Range scales)
      : x_(x), w_(w), codes_(codes), scales_(scales) {}

  Result run(ScaleGrid grid) {
    float most = 0;  // the scale of largest magnitude
    for (int j = 0; j < Result::kSubs; ++j) {
      free_[j] = fit_scale<N>(x_ + N * j, w_ + N * j, codes_, grid);
      weight_[j] = scale_sums<N>(x_ + N * j, w_ + N * j, inverse_or_zero(free_[j]), codes_).qq;
      if (std::fabs(free_[j]) > std::fabs(most)) most = free_[j];
    }
    if (most == 0) {
      best_.d = 0;
      return best_;
    }
    Best<float> candidates;
    constexpr int kSteps = 48;
    for (const float end : {scales_.low, scales_.high}) {
      for (int i = 0; i < kSteps; ++i) {
        const float d = most / (end * (1.02f - 0.4f * static_cast<float>(i) / kSteps));
        float cost = 0;
        for (int j = 0; j < Result::kSubs; ++j) {
          const float s = nearest(clamped(free_[j] / d, scales_.low, scales_.high));
          cost += weight_[j] * (s * d - free_[j]) * (s * d - free_[j]);
        }
        candidates.add(cost, d);
      }
    }
    for (const auto& candidate : candidates.entries()) {
      if (candidate.cost < kNone) carry_out(candidate.value);
    }
    return best_;
  }

 private:
  void carry_out(float d) {
    std::array<int, Result::kSubs> around{};
    for (int j = 0; j < Result::kSubs; ++j) {
      around[static_cast<size_t>(j)] =
          static_cast<int>(nearest(clamped(free_[j] / d, scales_.low, scales_.high)));
    }
    float before = kNone;
    for (int round = 0; round < kRounds; ++round) {
      Result made;
      made.d = f32_to_f16(d);
      d = f16_to_f32(made.d);
      if (!std::isfinite(d)) return;
      float total = 0, xq = 0, qq = 0;
      for (int j = 0; j < Result::kSubs; ++j) {
        const float *x = x_ + N * j, *w = w_ + N * j;
        float least = kNone;
        int best = 0;
        for (int s = around[static_cast<size_t>(j)] - 1; s <= around[static_cast<size_t>(j)] + 1;
             ++s) {
          if (static_cast<float>(s) < scales_.low || static_cast<float>(s) > scales_.high) continue;
          const float error = scale_error<N>(x, w, d * static_cast<float>(s), codes_);
          if (!(error < least)) continue;
          least = error;
          best = s;
        }
        made.s[static_cast<size_t>(j)] = best;
        total += least;
        const auto s = static_cast<float>(best);
        const ScaleSums sums = scale_sums<N>(x, w, inverse_or_zero(d * s), codes_);
        xq += s * sums.xq;
        qq += s * s * sums.qq;
      }
      if (total < best_error_) {
        best_error_ = total;
        best_ = made;
      }
      if (!(total < before) || qq <= 0) return;
      before = total;
      around = made.s;
      d = xq / qq;
    }
  }

  const float *x_, *w_;
  Range codes_, scales_;
  float free_[Result::kSubs], weight_[Result::kSubs];
  Result best_;
  float best_error_ = kNone;
};

template <int N>
Scales<N> search_scales(const float* x, const float* importance, Range codes, Range scales,
                        ScaleGrid grid) {
  float w[kSuper];
  if (!weigh(x, importance, kSuper, w)) return {};
  return ScaleSearch<N>(x, w, codes, scales).run(grid);
}

// --- w = d · s · q − dmin · m, s and m ≥ 0 ---

template <int N>
struct ScalesAndMins {
  static constexpr int kSubs = kSuper / N;
  uint16_t d = kInfinite, dmin = kInfinite;
  std::array<uint8_t, kSubs> s{}, m{};
  ScaleMinFit of(int sub) const {
    return {f16_to_f32(d) * static_cast<float>(s[static_cast<size_t>(sub)]),
            f16_to_f32(dmin) * static_cast<float>(m[static_cast<size_t>(sub)])};
  }
};

template <int N>
class MinSearch {
 public:
  using Result = ScalesAndMins<N>;
  // Codes are 0…most, scales and minima 0…`most_scale`.
  MinSearch(const float* x, const float* w, float most, float most_scale)
      : x_(x), w_(w), most_(most), most_scale_(most_scale) {}

  Result run() {
    float scale = 0, min = 0;
    for (int j = 0; j < Result::kSubs; ++j) {
      free_[j] = fit_scale_min<N>(x_ + N * j, w_ + N * j, most_, true);
      sums_[j] = min_sums<N>(x_ + N * j, w_ + N * j, free_[j], most_);
      scale = std::max(scale, free_[j].scale);
      min = std::max(min, free_[j].min);
    }
    Best<ScaleMinFit> candidates;
    constexpr int kSteps = 10;
    const float reach = most_scale_ > 20 ? 0.2f : 0.5f;  // four bits: coarse, so try more
    for (int i = 0; i < kSteps; ++i) {
      for (int k = 0; k < (min > 0 ? kSteps : 1); ++k) {
        const auto part = [&](int step) {
          return most_scale_ * (1.01f - reach * static_cast<float>(step) / kSteps);
        };
        const ScaleMinFit d{scale / part(i), min / part(k)};
        candidates.add(estimate(d), d);
      }
    }
    for (const auto& candidate : candidates.entries()) {
      if (candidate.cost < kNone) carry_out(candidate.value);
    }
    return best_;
  }

 private:
  float integer(float value, float unit) const {
    return nearest(clamped(value * inverse_or_zero(unit), 0.0f, most_scale_));
  }

  // The error under factors d, codes as they are in the free fits.
  float estimate(ScaleMinFit d) const {
    float total = 0;
    for (int j = 0; j < Result::kSubs; ++j) {
      const float down =
          std::floor(clamped(free_[j].scale * inverse_or_zero(d.scale), 0.0f, most_scale_));
      float least = kNone;
      for (const float s : {down, std::min(down + 1, most_scale_)}) {
        const float m = integer(sums_[j].best_min(s * d.scale), d.min);
        least = std::min(least, sums_[j].error(s * d.scale, m * d.min));
      }
      total += least;
    }
    return total;
  }

  void carry_out(ScaleMinFit d) {
    std::array<float, Result::kSubs> s{}, m{};
    for (int j = 0; j < Result::kSubs; ++j) {
      s[static_cast<size_t>(j)] = integer(free_[j].scale, d.scale);
      m[static_cast<size_t>(j)] =
          integer(sums_[j].best_min(s[static_cast<size_t>(j)] * d.scale), d.min);
    }
    float before = kNone;
    for (int round = 0; round < kRounds; ++round) {
      Result made;
      made.d = f32_to_f16(d.scale);
      made.dmin = f32_to_f16(d.min);
      d = {f16_to_f32(made.d), f16_to_f32(made.dmin)};
      if (!std::isfinite(d.scale) || !std::isfinite(d.min)) return;
      float total = 0;
      Normal normal;
      for (int j = 0; j < Result::kSubs; ++j) {
        total += choose(j, d, s[static_cast<size_t>(j)], m[static_cast<size_t>(j)]);
        made.s[static_cast<size_t>(j)] = static_cast<uint8_t>(s[static_cast<size_t>(j)]);
        made.m[static_cast<size_t>(j)] = static_cast<uint8_t>(m[static_cast<size_t>(j)]);
        normal.add(s[static_cast<size_t>(j)], m[static_cast<size_t>(j)],
                   min_sums<N>(x_ + N * j, w_ + N * j, made.of(j), most_));
      }
      if (total < best_error_) {
        best_error_ = total;
        best_ = made;
      }
      if (!(total < before) || !normal.solve(d)) return;
      before = total;
    }
  }

  // The best integers around s and m; returns their error.
  float choose(int j, ScaleMinFit d, float& s, float& m) const {
    const float *x = x_ + N * j, *w = w_ + N * j;
    float least = kNone;
    const float s0 = s, m0 = m;
    for (float a = std::max(0.0f, s0 - 1); a <= std::min(most_scale_, s0 + 1); ++a) {
      for (float b = std::max(0.0f, m0 - 1); b <= std::min(most_scale_, m0 + 1); ++b) {
        const float error = min_error<N>(x, w, {a * d.scale, b * d.min}, most_);
        if (!(error < least)) continue;
        least = error;
        s = a;
        m = b;
      }
    }
    return least;
  }

  // Least squares for d and dmin with all codes, s and m given.
  struct Normal {
    float aa = 0, ab = 0, bb = 0, ax = 0, bx = 0;
    void add(float s, float m, const MinSums& sums) {
      aa += s * s * sums.qq;
      ab += s * m * sums.q;
      bb += m * m * sums.w;
      ax += s * sums.xq;
      bx += m * sums.x;
    }
    bool solve(ScaleMinFit& d) const {
      if (bb == 0) {
        if (aa <= 0) return false;
        d.scale = ax / aa;
        return d.scale > 0;
      }
      const float determinant = aa * bb - ab * ab;
      if (!(determinant > 0)) return false;
      const float scale = (ax * bb - bx * ab) / determinant;
      const float min = (ax * ab - bx * aa) / determinant;
      if (scale <= 0 || min < 0) return false;
      d = {scale, min};
      return true;
    }
  };

  const float *x_, *w_;
  float most_, most_scale_;
  ScaleMinFit free_[Result::kSubs];
  MinSums sums_[Result::kSubs];
  Result best_;
  float best_error_ = kNone;
};

template <int N>
ScalesAndMins<N> search_mins(const float* x, const float* importance, float most,
                             float most_scale) {
  float w[kSuper];
  if (!weigh(x, importance, kSuper, w)) return {};
  return MinSearch<N>(x, w, most, most_scale).run();
}

// --- codes and their places ---

int code_of(float x, float inverse, float min, Range range) {
  return static_cast<int>(nearest(clamped((x + min) * inverse, range.low, range.high)));
}

template <int N>
void codes_of(const float* x, const Scales<N>& scales, Range range, int shift, uint8_t* q) {
  for (int i = 0; i < kSuper; ++i) {
    const float inverse = inverse_or_zero(scales.of(i / N));
    q[i] = static_cast<uint8_t>(code_of(x[i], inverse, 0, range) + shift);
  }
}

template <int N>
void codes_of(const float* x, const ScalesAndMins<N>& scales, float most, uint8_t* q) {
  for (int i = 0; i < kSuper; ++i) {
    const ScaleMinFit fit = scales.of(i / N);
    q[i] = static_cast<uint8_t>(code_of(x[i], inverse_or_zero(fit.scale), fit.min, {0, most}));
  }
}

// The low two bits of weight 128·h + 32·j + l, to bits 2j of byte 32·h + l.
void pack_pairs(const uint8_t* q, uint8_t* out) {
  for (int at = 0; at < kSuper / 4; ++at) {
    const uint8_t* of = q + 128 * (at / 32) + at % 32;
    out[at] = static_cast<uint8_t>((of[0] & 3) | (of[32] & 3) << 2 | (of[64] & 3) << 4 |
                                   (of[96] & 3) << 6);
  }
}

// The low four bits of weight 64·j + l and 32 further, to byte 32·j + l.
void pack_halves(const uint8_t* q, uint8_t* out) {
  for (int at = 0; at < kSuper / 2; ++at) {
    const uint8_t* of = q + 64 * (at / 32) + at % 32;
    out[at] = static_cast<uint8_t>((of[0] & 15) | (of[32] & 15) << 4);
  }
}

// Bit `bit` of weight 32·j + l, to bit j of byte l.
void pack_plane(const uint8_t* q, int bit, uint8_t* out) {
  for (int l = 0; l < 32; ++l) {
    int byte = 0;
    for (int j = 0; j < 8; ++j) byte |= ((q[32 * j + l] >> bit) & 1) << j;
    out[l] = static_cast<uint8_t>(byte);
  }
}

// What scale_min() reads.
void pack_scale_mins(const std::array<uint8_t, 8>& s, const std::array<uint8_t, 8>& m,
                     uint8_t* out) {
  for (size_t i = 0; i < 4; ++i) {
    out[i] = static_cast<uint8_t>(s[i] | (s[i + 4] >> 4) << 6);
    out[i + 4] = static_cast<uint8_t>(m[i] | (m[i + 4] >> 4) << 6);
    out[i + 8] = static_cast<uint8_t>((s[i + 4] & 15) | (m[i + 4] & 15) << 4);
  }
}

}  // namespace

void fit_q2_k(const float* x, const float* importance, uint8_t* block) {
  const auto found = search_mins<16>(x, importance, 3, 15);
  BlockQ2_K b;
  b.d = found.d;
  b.dmin = found.dmin;
  for (size_t i = 0; i < 16; ++i) {
    b.scales[i] = static_cast<uint8_t>(found.s[i] | found.m[i] << 4);
  }
  uint8_t q[kSuper];
  codes_of(x, found, 3, q);
  pack_pairs(q, b.qs);
  store(block, 0, b);
}

void fit_q3_k(const float* x, const float* importance, uint8_t* block) {
  const Range codes{-4, 3};
  const auto found = search_scales<16>(x, importance, codes, {-32, 31}, {40, 0.6f, 2.0f});
  BlockQ3_K b;
  b.d = found.d;
  for (size_t i = 0; i < 12; ++i) b.scales[i] = 0;
  for (size_t i = 0; i < 16; ++i) {
    const int s = found.s[i] + 32;
    b.scales[i % 8] = static_cast<uint8_t>(b.scales[i % 8] | (s & 15) << (4 * (i / 8)));
    b.scales[8 + i % 4] = static_cast<uint8_t>(b.scales[8 + i % 4] | (s >> 4) << (2 * (i / 4)));
  }
  uint8_t q[kSuper];
  codes_of(x, found, codes, 4, q);
  pack_pairs(q, b.qs);
  pack_plane(q, 2, b.hmask);
  store(block, 0, b);
}

void fit_q4_k(const float* x, const float* importance, uint8_t* block) {
  const auto found = search_mins<32>(x, importance, 15, 63);
  BlockQ4_K b;
  b.d = found.d;
  b.dmin = found.dmin;
  pack_scale_mins(found.s, found.m, b.scales);
  uint8_t q[kSuper];
  codes_of(x, found, 15, q);
  pack_halves(q, b.qs);
  store(block, 0, b);
}

void fit_q5_k(const float* x, const float* importance, uint8_t* block) {
  const auto found = search_mins<32>(x, importance, 31, 63);
  BlockQ5_K b;
  b.d = found.d;
  b.dmin = found.dmin;
  pack_scale_mins(found.s, found.m, b.scales);
  uint8_t q[kSuper];
  codes_of(x, found, 31, q);
  pack_halves(q, b.qs);
  pack_plane(q, 4, b.qh);
  store(block, 0, b);
}

void fit_q6_k(const float* x, const float* importance, uint8_t* block) {
  const Range codes{-32, 31};
  const auto found = search_scales<16>(x, importance, codes, {-128, 127}, {48, 0.9f, 1.25f});
  BlockQ6_K b;
  b.d = found.d;
  for (size_t i = 0; i < 16; ++i) b.scales[i] = static_cast<int8_t>(found.s[i]);
  uint8_t q[kSuper], high[kSuper];
  codes_of(x, found, codes, 32, q);
  // The low halves lie 64 apart in half a super-block: as pairs of 32 they are in the places that
  // decode_q6_k() reads.
  for (int h = 0; h < 2; ++h) {
    for (int l = 0; l < 64; ++l) {
      const uint8_t* of = q + 128 * h + l;
      b.ql[64 * h + l] = static_cast<uint8_t>((of[0] & 15) | (of[64] & 15) << 4);
    }
  }
  for (int i = 0; i < kSuper; ++i) high[i] = q[i] >> 4;
  pack_pairs(high, b.qh);
  store(block, 0, b);
}

}  // namespace lathe::gguf
