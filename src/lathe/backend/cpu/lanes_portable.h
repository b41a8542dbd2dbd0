// Sixteen f32 lanes in portable C++ (the compiler's vectors of four). The contract that the other
// lanes_*.h follow; everything lies in an unnamed namespace, so that no instruction set's code can
// stand in for another's.
//
//   F, I       sixteen f32 or 32-bit integers; Table: sixteen f32 to look up in
//   first n    load_part, store_part and keep_range(lo, hi) touch only these lanes
//   min, max   give the second operand if either is NaN
//   lookup     uses the low four bits of each index
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <cmath>
#include <cstring>

#include "lathe/tensor/dtype.h"

#define LANE static inline __attribute__((always_inline))
#define LANE_MEMBER inline __attribute__((always_inline))

namespace lathe::cpu {
namespace {

typedef float Quad __attribute__((vector_size(16)));

struct F {
  Quad q[4];
};
struct I {
  int32_t v[16];
};
struct Table {
  const float* v;
};

template <typename Fn>
LANE F each(Fn fn) {
  F r;
  for (int i = 0; i < 4; ++i) r.q[i] = fn(i);
  return r;
}
template <typename Fn>
LANE F each_lane(Fn fn) {
  F r;
  for (int i = 0; i < 16; ++i) r.q[i / 4][i % 4] = fn(i);
  return r;
}
LANE float lane(const F& x, int i) { return x.q[i / 4][i % 4]; }

LANE F zero() { return {}; }
LANE F set1(float x) {
  return each([&](int) { return Quad{x, x, x, x}; });
}
LANE F load(const float* p) {
  F r;
  std::memcpy(&r, p, sizeof(r));
  return r;
}
LANE F load_part(const float* p, int64_t n) {
  return each_lane([&](int i) { return i < n ? p[i] : 0.0f; });
}
LANE void store(float* p, const F& x) { std::memcpy(p, &x, sizeof(x)); }
LANE void store_part(float* p, const F& x, int64_t n) {
  for (int i = 0; i < n; ++i) p[i] = lane(x, i);
}
LANE F add(const F& a, const F& b) {
  return each([&](int i) { return a.q[i] + b.q[i]; });
}
LANE F sub(const F& a, const F& b) {
  return each([&](int i) { return a.q[i] - b.q[i]; });
}
LANE F mul(const F& a, const F& b) {
  return each([&](int i) { return a.q[i] * b.q[i]; });
}
LANE F div(const F& a, const F& b) {
  return each([&](int i) { return a.q[i] / b.q[i]; });
}
LANE F fma(const F& a, const F& b, const F& c) {
  return each([&](int i) { return a.q[i] * b.q[i] + c.q[i]; });
}
LANE F min(const F& a, const F& b) {
  return each_lane([&](int i) { return lane(a, i) < lane(b, i) ? lane(a, i) : lane(b, i); });
}
LANE F max(const F& a, const F& b) {
  return each_lane([&](int i) { return lane(a, i) > lane(b, i) ? lane(a, i) : lane(b, i); });
}
LANE F keep_range(const F& x, int64_t lo, int64_t hi, const F& other) {
  return each_lane([&](int i) { return i >= lo && i < hi ? lane(x, i) : lane(other, i); });
}
LANE float sum(const F& x) {
  const Quad s = (x.q[0] + x.q[2]) + (x.q[1] + x.q[3]);
  return (s[0] + s[2]) + (s[1] + s[3]);
}
LANE float most(const F& x) {
  float m = lane(x, 0);
  for (int i = 1; i < 16; ++i) m = lane(x, i) > m ? lane(x, i) : m;
  return m;
}

LANE I load_int(const void* p) {
  I r;
  std::memcpy(&r, p, sizeof(r));
  return r;
}
LANE I shift_right(const I& x, int bits) {
  I r;
  for (int i = 0; i < 16; ++i) r.v[i] = static_cast<int32_t>(static_cast<uint32_t>(x.v[i]) >> bits);
  return r;
}
template <int kBits>
LANE I shift_right(const I& x) {
  return shift_right(x, kBits);
}
LANE I add_int(const I& a, const I& b) {
  I r;
  for (int i = 0; i < 16; ++i) {
    r.v[i] = static_cast<int32_t>(static_cast<uint32_t>(a.v[i]) + static_cast<uint32_t>(b.v[i]));
  }
  return r;
}
LANE I zero_int() { return {}; }
LANE uint32_t sum_int(const I& a) {
  uint32_t s = 0;
  for (int i = 0; i < 16; ++i) s += static_cast<uint32_t>(a.v[i]);
  return s;
}
LANE Table load_table(const float* p) { return {p}; }
LANE F lookup(Table t, const I& index) {
  return each_lane([&](int i) { return t.v[index.v[i] & 15]; });
}
template <int kByte>
LANE F byte_of(const I& x) {
  return each_lane([&](int i) {
    return static_cast<float>(static_cast<int8_t>(static_cast<uint32_t>(x.v[i]) >> (8 * kByte)));
  });
}
LANE F bf16_low(const I& x) {
  return each_lane([&](int i) { return bf16_to_f32(static_cast<uint16_t>(x.v[i])); });
}
LANE F bf16_high(const I& x) {
  return each_lane([&](int i) {
    return bf16_to_f32(static_cast<uint16_t>(static_cast<uint32_t>(x.v[i]) >> 16));
  });
}
LANE F load_f16(const void* p) {
  uint16_t h[16];
  std::memcpy(h, p, sizeof(h));
  return each_lane([&](int i) { return f16_to_f32(h[i]); });
}
LANE F load_u8(const void* p) {
  return each_lane([&](int i) { return static_cast<float>(static_cast<const uint8_t*>(p)[i]); });
}
LANE F load_i8(const void* p) {
  return each_lane([&](int i) { return static_cast<float>(static_cast<const int8_t*>(p)[i]); });
}
// 2^(code − 127), 0 for code 0.
LANE F load_e8m0(const void* p) {
  return each_lane([&](int i) {
    const int code = static_cast<const uint8_t*>(p)[i];
    return code == 0 ? 0.0f : std::ldexp(1.0f, code - 127);
  });
}
// Positive E4M3 times 2^−8: as the bits of an f16.
LANE F load_e4m3(const void* p) {
  return each_lane([&](int i) {
    return f16_to_f32(static_cast<uint16_t>(static_cast<const uint8_t*>(p)[i] << 7));
  });
}
// The exponent's bits of a positive float.
LANE I exponent_of(const F& x) {
  I r;
  std::memcpy(&r, &x, sizeof(r));
  return shift_right<23>(r);
}
LANE void prefetch(const void*) {}
LANE void prefetch_far(const void*) {}

LANE void transpose16(F (&r)[16]) {
  float t[16][16];
  for (int i = 0; i < 16; ++i) {
    for (int j = 0; j < 16; ++j) t[j][i] = lane(r[i], j);
  }
  for (int i = 0; i < 16; ++i) r[i] = load(t[i]);
}

constexpr int kTokensAtOnce = 3;  // 1 panel × 3 tokens: 12 accumulators of 16 SSE registers
constexpr int kPanelsAtOnce = 1;
constexpr int kChainsAtOnce = 2;  // Two chains of four registers each.
constexpr int kStreamsAtOnce = 1;

// Functions of the portable reference: the C library's.
LANE F exp_of(const F& x) {
  return each_lane([&](int i) { return std::exp(lane(x, i)); });
}
LANE F tanh_of(const F& x) {
  return each_lane([&](int i) { return std::tanh(lane(x, i)); });
}
LANE F normal_cdf(const F& x) {  // in double: the tail is steep
  return each_lane([&](int i) {
    return static_cast<float>(0.5 * std::erfc(lane(x, i) * -0.70710678118654752440));
  });
}

}  // namespace
}  // namespace lathe::cpu
