// Sixteen f32 lanes on AVX2: two registers of eight. Included by *_avx2.cc alone; see
// lanes_portable.h for the contract.
#pragma once

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#define LANE static inline __attribute__((always_inline))
#define LANE_MEMBER inline __attribute__((always_inline))

namespace lathe::cpu {
namespace {

struct F {
  __m256 a, b;
};
struct I {
  __m256i a, b;
};
struct Table {
  __m256 low, high;
};

alignas(32) const int32_t kMasks[48] = {
    -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0,
    0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0, 0, 0, 0, 0, 0, 0, 0};

// All bits set in the first n lanes, 0 ≤ n ≤ 16.
LANE I first(int64_t n) {
  const int32_t* p = kMasks + 16 - n;
  return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)),
          _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + 8))};
}

LANE F zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
LANE F set1(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
LANE F load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
LANE F load_part(const float* p, int64_t n) {
  const I m = first(n);
  return {_mm256_maskload_ps(p, m.a), _mm256_maskload_ps(p + 8, m.b)};
}
LANE void store(float* p, F x) {
  _mm256_storeu_ps(p, x.a);
  _mm256_storeu_ps(p + 8, x.b);
}
LANE void store_part(float* p, F x, int64_t n) {
  const I m = first(n);
  _mm256_maskstore_ps(p, m.a, x.a);
  _mm256_maskstore_ps(p + 8, m.b, x.b);
}
LANE F add(F x, F y) { return {_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)}; }
LANE F sub(F x, F y) { return {_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)}; }
LANE F mul(F x, F y) { return {_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)}; }
LANE F div(F x, F y) { return {_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)}; }
LANE F fma(F x, F y, F z) {
  return {_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)};
}
LANE F min(F x, F y) { return {_mm256_min_ps(x.a, y.a), _mm256_min_ps(x.b, y.b)}; }
LANE F max(F x, F y) { return {_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)}; }
LANE F abs(F x) {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  return {_mm256_andnot_ps(sign, x.a), _mm256_andnot_ps(sign, x.b)};
}
LANE F if_less(F x, F y, F yes, F no) {
  return {_mm256_blendv_ps(no.a, yes.a, _mm256_cmp_ps(x.a, y.a, _CMP_LT_OQ)),
          _mm256_blendv_ps(no.b, yes.b, _mm256_cmp_ps(x.b, y.b, _CMP_LT_OQ))};
}
LANE F keep_range(F x, int64_t lo, int64_t hi, F other) {
  const I l = first(lo), h = first(hi);
  return {_mm256_blendv_ps(other.a, x.a, _mm256_castsi256_ps(_mm256_andnot_si256(l.a, h.a))),
          _mm256_blendv_ps(other.b, x.b, _mm256_castsi256_ps(_mm256_andnot_si256(l.b, h.b)))};
}
LANE float sum(F x) {
  const __m256 s = _mm256_add_ps(x.a, x.b);
  __m128 q = _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
  q = _mm_add_ps(q, _mm_movehl_ps(q, q));
  return _mm_cvtss_f32(_mm_add_ss(q, _mm_movehdup_ps(q)));
}
LANE float most(F x) {
  const __m256 s = _mm256_max_ps(x.a, x.b);
  __m128 q = _mm_max_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
  q = _mm_max_ps(q, _mm_movehl_ps(q, q));
  return _mm_cvtss_f32(_mm_max_ss(q, _mm_movehdup_ps(q)));
}
LANE I to_int(F x) { return {_mm256_cvtps_epi32(x.a), _mm256_cvtps_epi32(x.b)}; }
LANE F to_float(I x) { return {_mm256_cvtepi32_ps(x.a), _mm256_cvtepi32_ps(x.b)}; }
LANE __m256 power_of_two(__m256i n) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n, _mm256_set1_epi32(127)), 23));
}
// In two factors, so that n may reach from −252 to 254.
LANE F times_power_of_two(F x, I n) {
  const __m256i p = _mm256_srai_epi32(n.a, 1), q = _mm256_srai_epi32(n.b, 1);
  const __m256 y = _mm256_mul_ps(x.a, power_of_two(p)), z = _mm256_mul_ps(x.b, power_of_two(q));
  return {_mm256_mul_ps(y, power_of_two(_mm256_sub_epi32(n.a, p))),
          _mm256_mul_ps(z, power_of_two(_mm256_sub_epi32(n.b, q)))};
}

LANE I load_int(const void* p) {
  const __m256i* q = static_cast<const __m256i*>(p);
  return {_mm256_loadu_si256(q), _mm256_loadu_si256(q + 1)};
}
template <int kBits>
LANE I shift_right(I x) {
  if constexpr (kBits == 0) return x;
  return {_mm256_srli_epi32(x.a, kBits), _mm256_srli_epi32(x.b, kBits)};
}
LANE I shift_right(I x, int bits) {
  const __m128i n = _mm_cvtsi32_si128(bits);
  return {_mm256_srl_epi32(x.a, n), _mm256_srl_epi32(x.b, n)};
}
LANE I add_int(I x, I y) { return {_mm256_add_epi32(x.a, y.a), _mm256_add_epi32(x.b, y.b)}; }
LANE I zero_int() { return {_mm256_setzero_si256(), _mm256_setzero_si256()}; }
LANE uint32_t sum_int(I x) {
  const __m256i s = _mm256_add_epi32(x.a, x.b);
  __m128i q = _mm_add_epi32(_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1));
  q = _mm_add_epi32(q, _mm_shuffle_epi32(q, 0x4e));
  return static_cast<uint32_t>(_mm_cvtsi128_si32(_mm_add_epi32(q, _mm_shuffle_epi32(q, 0xb1))));
}
LANE Table load_table(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
LANE __m256 lookup8(Table t, __m256i index) {
  return _mm256_blendv_ps(_mm256_permutevar8x32_ps(t.low, index),
                          _mm256_permutevar8x32_ps(t.high, index),
                          _mm256_castsi256_ps(_mm256_slli_epi32(index, 28)));
}
LANE F lookup(Table t, I index) { return {lookup8(t, index.a), lookup8(t, index.b)}; }
template <int kByte>
LANE F byte_of(I x) {
  return {_mm256_cvtepi32_ps(_mm256_srai_epi32(_mm256_slli_epi32(x.a, 24 - 8 * kByte), 24)),
          _mm256_cvtepi32_ps(_mm256_srai_epi32(_mm256_slli_epi32(x.b, 24 - 8 * kByte), 24))};
}
LANE F bf16_low(I x) {
  return {_mm256_castsi256_ps(_mm256_slli_epi32(x.a, 16)),
          _mm256_castsi256_ps(_mm256_slli_epi32(x.b, 16))};
}
LANE F bf16_high(I x) {
  const __m256i m = _mm256_set1_epi32(static_cast<int>(0xffff0000u));
  return {_mm256_castsi256_ps(_mm256_and_si256(x.a, m)),
          _mm256_castsi256_ps(_mm256_and_si256(x.b, m))};
}
LANE F load_f16(const void* p) {
  const __m128i* q = static_cast<const __m128i*>(p);
  return {_mm256_cvtph_ps(_mm_loadu_si128(q)), _mm256_cvtph_ps(_mm_loadu_si128(q + 1))};
}
LANE F load_u8(const void* p) {
  const __m128i q = _mm_loadu_si128(static_cast<const __m128i*>(p));
  return {_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(q)),
          _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_srli_si128(q, 8)))};
}
LANE F load_i8(const void* p) {
  const __m128i q = _mm_loadu_si128(static_cast<const __m128i*>(p));
  return {_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(q)),
          _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(q, 8)))};
}
// 2^(code − 127), 0 for code 0.
LANE F load_e8m0(const void* p) {
  const __m128i q = _mm_loadu_si128(static_cast<const __m128i*>(p));
  const __m256i a = _mm256_cvtepu8_epi32(q), b = _mm256_cvtepu8_epi32(_mm_srli_si128(q, 8));
  return {_mm256_castsi256_ps(_mm256_slli_epi32(a, 23)),
          _mm256_castsi256_ps(_mm256_slli_epi32(b, 23))};
}
// Positive E4M3 times 2^−8: as the bits of an f16.
LANE F load_e4m3(const void* p) {
  const __m128i q = _mm_loadu_si128(static_cast<const __m128i*>(p));
  const __m256i half = _mm256_slli_epi16(_mm256_cvtepu8_epi16(q), 7);
  return {_mm256_cvtph_ps(_mm256_castsi256_si128(half)),
          _mm256_cvtph_ps(_mm256_extracti128_si256(half, 1))};
}
// The exponent's bits of a positive float.
LANE I exponent_of(F x) {
  return {_mm256_srli_epi32(_mm256_castps_si256(x.a), 23),
          _mm256_srli_epi32(_mm256_castps_si256(x.b), 23)};
}
LANE void prefetch(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0); }
// Into the second-level cache.
LANE void prefetch_far(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T1); }

LANE void transpose8(__m256 (&r)[8]) {
  __m256 t[8];
  for (int i = 0; i < 8; i += 4) {
    const __m256 a = _mm256_unpacklo_ps(r[i], r[i + 1]), b = _mm256_unpackhi_ps(r[i], r[i + 1]);
    const __m256 c = _mm256_unpacklo_ps(r[i + 2], r[i + 3]);
    const __m256 d = _mm256_unpackhi_ps(r[i + 2], r[i + 3]);
    t[i] = _mm256_shuffle_ps(a, c, 0x44);
    t[i + 1] = _mm256_shuffle_ps(a, c, 0xee);
    t[i + 2] = _mm256_shuffle_ps(b, d, 0x44);
    t[i + 3] = _mm256_shuffle_ps(b, d, 0xee);
  }
  for (int i = 0; i < 4; ++i) {
    r[i] = _mm256_permute2f128_ps(t[i], t[i + 4], 0x20);
    r[i + 4] = _mm256_permute2f128_ps(t[i], t[i + 4], 0x31);
  }
}

// r[i] lane j ← r[j] lane i.
LANE void transpose16(F (&r)[16]) {
  __m256 q[4][8];  // quadrants: rows 0–7 left, rows 0–7 right, rows 8–15 left, right
  for (int i = 0; i < 8; ++i) {
    q[0][i] = r[i].a;
    q[1][i] = r[i].b;
    q[2][i] = r[i + 8].a;
    q[3][i] = r[i + 8].b;
  }
  for (auto& quadrant : q) transpose8(quadrant);
  for (int i = 0; i < 8; ++i) {
    r[i] = {q[0][i], q[2][i]};
    r[i + 8] = {q[1][i], q[3][i]};
  }
}

constexpr int kTokensAtOnce = 6;  // 1 panel × 6 tokens: 12 accumulators of 16 registers
constexpr int kPanelsAtOnce = 1;
constexpr int kChainsAtOnce = 4;  // Four chains of two registers each.
// Panels that one row of x meets side by side, where registers allow it.
constexpr int kStreamsAtOnce = 1;

}  // namespace
}  // namespace lathe::cpu
