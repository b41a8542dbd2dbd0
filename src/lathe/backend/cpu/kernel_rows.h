// Element-wise and row-wise kernels over lanes: activations, norms, rotation, one softmax step; and
// the two loops that measure a machine's ceilings. Included after lanes_*.h (and kernel_math.h
// where the lanes bring no functions of their own), once per instruction set.
#pragma once

#include "lathe/backend/cpu/kernels.h"

namespace lathe::cpu {
namespace {

// x[i] ← fn(x[i], i) for i < n, in blocks of 16 whose last may be partial.
template <typename Fn>
LANE void map(float* x, int64_t n, Fn fn) {
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    store(x + i, fn(
                     load(x + i), [&](const float* p)
                                      __attribute__((always_inline)) { return load(p + i); }));
  }
  if (i < n) {
    const int64_t left = n - i;
    store_part(x + i,
               fn(
                   load_part(x + i, left), [&](const float* p) __attribute__((
                                               always_inline)) { return load_part(p + i, left); }),
               left);
  }
}

void add_to(float* a, const float* b, int64_t n) noexcept {
  map(a, n, [&](const F& x, auto other) { return add(x, other(b)); });
}

void scale_by(float* a, float s, int64_t n) noexcept {
  map(a, n, [&](const F& x, auto) { return mul(x, set1(s)); });
}

void scale_each(float* a, const float* s, int64_t n) noexcept {
  map(a, n, [&](const F& x, auto at) { return mul(x, at(s)); });
}

template <Unary kUnary>
LANE F unary(const F& x) {
  if constexpr (kUnary == Unary::kSilu) {
    return div(x, add(set1(1.0f), exp_of(sub(zero(), x))));
  } else if constexpr (kUnary == Unary::kGeluErf) {
    return mul(x, normal_cdf(x));
  } else if constexpr (kUnary == Unary::kGeluTanh) {
    // 0.5·x·(1 + tanh u) = x / (1 + exp(−2u)), u = √(2/π)·(x + 0.044715·x³).
    const F cube = mul(mul(x, x), x);
    const F u = mul(set1(-1.5957691216057308f), fma(set1(0.044715f), cube, x));
    return div(x, add(set1(1.0f), exp_of(u)));
  } else {
    return max(zero(), x);  // NaN stays: the second operand
  }
}

template <Unary kUnary>
LANE void activate_of(float* x, int64_t n) {
  map(x, n, [&](const F& v, auto) { return unary<kUnary>(v); });
}

template <Unary kUnary>
LANE void gate_of(float* x, const float* up, int64_t n) {
  map(x, n, [&](const F& v, auto other) { return mul(unary<kUnary>(v), other(up)); });
}

void activate(Unary f, float* x, int64_t n) noexcept {
  switch (f) {
    case Unary::kSilu:
      return activate_of<Unary::kSilu>(x, n);
    case Unary::kGeluErf:
      return activate_of<Unary::kGeluErf>(x, n);
    case Unary::kGeluTanh:
      return activate_of<Unary::kGeluTanh>(x, n);
    case Unary::kRelu:
      return activate_of<Unary::kRelu>(x, n);
  }
}

void gate(Unary f, float* x, const float* up, int64_t n) noexcept {
  switch (f) {
    case Unary::kSilu:
      return gate_of<Unary::kSilu>(x, up, n);
    case Unary::kGeluErf:
      return gate_of<Unary::kGeluErf>(x, up, n);
    case Unary::kGeluTanh:
      return gate_of<Unary::kGeluTanh>(x, up, n);
    case Unary::kRelu:
      return gate_of<Unary::kRelu>(x, up, n);
  }
}

void soft_cap(float cap, float* x, int64_t n) noexcept {
  map(x, n, [&](const F& v, auto) { return mul(set1(cap), tanh_of(div(v, set1(cap)))); });
}

// Σ fn(x[i]) over i < n; fn(0) must be 0.
template <typename Fn>
LANE float accumulate_of(const float* x, int64_t n, Fn fn) {
  F s[2] = {zero(), zero()};
  int64_t i = 0;
  for (; i + 32 <= n; i += 32) {
    s[0] = fn(load(x + i), s[0], 16);
    s[1] = fn(load(x + i + 16), s[1], 16);
  }
  for (; i + 16 <= n; i += 16) s[0] = fn(load(x + i), s[0], 16);
  if (i < n) s[1] = fn(load_part(x + i, n - i), s[1], n - i);
  return sum(add(s[0], s[1]));
}

void rms_norm(const float* x, const float* w, float eps, int64_t n, float* y) noexcept {
  const float squares =
      accumulate_of(x, n, [](const F& v, const F& s, int64_t) { return fma(v, v, s); });
  const float r = 1.0f / __builtin_sqrtf(squares / static_cast<float>(n) + eps);
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) store(y + i, mul(mul(load(x + i), set1(r)), load(w + i)));
  if (i < n) {
    store_part(y + i, mul(mul(load_part(x + i, n - i), set1(r)), load_part(w + i, n - i)), n - i);
  }
}

void layer_norm(const float* x, const float* w, const float* b, float eps, int64_t n,
                float* y) noexcept {
  const float mean =
      accumulate_of(x, n, [](const F& v, const F& s, int64_t) { return add(v, s); }) /
      static_cast<float>(n);
  const float squares = accumulate_of(x, n, [&](const F& v, const F& s, int64_t count) {
    const F d = keep_range(sub(v, set1(mean)), 0, count, zero());
    return fma(d, d, s);
  });
  const float r = 1.0f / __builtin_sqrtf(squares / static_cast<float>(n) + eps);
  for (int64_t i = 0; i < n; i += 16) {
    const int64_t count = n - i < 16 ? n - i : 16;
    const F v = mul(sub(load_part(x + i, count), set1(mean)), set1(r));
    const F bias = b ? load_part(b + i, count) : zero();
    store_part(y + i, fma(v, load_part(w + i, count), bias), count);
  }
}

void rotate(float* x, const float* cosine, const float* sine, int64_t half) noexcept {
  for (int64_t i = 0; i < half; i += 16) {
    const int64_t n = half - i < 16 ? half - i : 16;
    const F c = load_part(cosine + i, n), s = load_part(sine + i, n);
    const F a = load_part(x + i, n), b = load_part(x + half + i, n);
    store_part(x + i, sub(mul(a, c), mul(b, s)), n);
    store_part(x + half + i, add(mul(b, c), mul(a, s)), n);
  }
}

float softmax_step(float* s, int64_t n, int64_t lo, int64_t hi, float scale, float cap,
                   float* maximum, float* total) noexcept {
  constexpr float kLowest = -3.0e38f;
  if (lo >= hi) {
    for (int64_t i = 0; i < n; i += 16) store(s + i, zero());
    return 1.0f;
  }
  const F factor = set1(scale);
  F high = set1(kLowest);
  for (int64_t i = 0; i < n; i += 16) {
    const int64_t from = lo - i < 0 ? 0 : lo - i > 16 ? 16 : lo - i;
    const int64_t to = hi - i < 0 ? 0 : hi - i > 16 ? 16 : hi - i;
    if (from >= to) continue;
    F v = mul(load(s + i), factor);
    if (cap > 0) v = mul(set1(cap), tanh_of(div(v, set1(cap))));
    store(s + i, v);
    high = max(high, keep_range(v, from, to, set1(kLowest)));
  }
  const float before = *maximum;
  const float block_high = most(high);
  const float now = block_high > before ? block_high : before;
  F sums = zero();
  for (int64_t i = 0; i < n; i += 16) {
    const int64_t from = lo - i < 0 ? 0 : lo - i > 16 ? 16 : lo - i;
    const int64_t to = hi - i < 0 ? 0 : hi - i > 16 ? 16 : hi - i;
    if (from >= to) {
      store(s + i, zero());
      continue;
    }
    const F e = keep_range(exp_of(sub(load(s + i), set1(now))), from, to, zero());
    store(s + i, e);
    sums = add(sums, e);
  }
  // e^(before − now), by the same function as the scores.
  const float shrink = sum(keep_range(exp_of(set1(before - now)), 0, 1, zero()));
  *maximum = now;
  *total = *total * shrink + sum(sums);
  return shrink;
}

float burn(int64_t rounds, int64_t* flops) noexcept {
  constexpr int kChainsOfBurn = kTokensAtOnce == 12 ? 16 : kTokensAtOnce == 6 ? 6 : 3;
  F acc[kChainsOfBurn];
  // Distinct starts that the compiler cannot know, so that no chain is shared or left out.
  for (int i = 0; i < kChainsOfBurn; ++i) acc[i] = set1(static_cast<float>(rounds + i));
  const F m = set1(0.999f), c = set1(0.001f);
  for (int64_t r = 0; r < rounds; ++r) {
    for (F& a : acc) a = fma(a, m, c);
  }
  *flops = kChainsOfBurn * 16 * 2;
  F s = zero();
  for (const F& a : acc) s = add(s, a);
  return sum(s);
}

uint32_t read(const uint8_t* p, int64_t n, int64_t streams, int64_t ahead) noexcept {
  I s[4] = {zero_int(), zero_int(), zero_int(), zero_int()};
  const int64_t part = n / streams / 256 * 256;
  for (int64_t i = 0; i < part; i += 256) {
    for (int64_t t = 0; t < streams; ++t) {
      const uint8_t* at = p + t * part + i;
      for (int j = 0; j < 4; ++j) {
        if (ahead > 0) prefetch(at + ahead + 64 * j);
        s[j] = add_int(s[j], load_int(at + 64 * j));
      }
    }
  }
  for (int64_t i = streams * part; i < n; i += 64) s[0] = add_int(s[0], load_int(p + i));
  return sum_int(add_int(add_int(s[0], s[1]), add_int(s[2], s[3])));
}

}  // namespace
}  // namespace lathe::cpu

// The table of one instruction set.
#define LATHE_KERNEL_TABLE(name)                                                  \
  const Kernels name = {                                                          \
      kTokensAtOnce, kPanelsAtOnce, multiply_few, decode,   expand,   multiply,   \
      multiply_rows, multiply_kv,   transpose,    dot,      add_to,   scale_by,   \
      scale_each,    activate,      gate,         soft_cap, rms_norm, layer_norm, \
      rotate,        softmax_step,  burn,         read}
