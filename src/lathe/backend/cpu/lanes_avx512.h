// Sixteen f32 lanes on AVX-512. Included by *_avx512.cc alone; see lanes_portable.h for the
// contract.
#pragma once

#if defined(__GNUC__) && !defined(__clang__)
// GCC's own intrinsics pass deliberately undefined registers (GCC bug 105593).
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#define LANE static inline __attribute__((always_inline))
#define LANE_MEMBER inline __attribute__((always_inline))

namespace lathe::cpu {
namespace {

struct F {
  __m512 v;
};
struct I {
  __m512i v;
};
struct Table {
  __m512 v;
};

LANE __mmask16 first(int64_t n) { return static_cast<__mmask16>((1u << n) - 1u); }

LANE F zero() { return {_mm512_setzero_ps()}; }
LANE F set1(float x) { return {_mm512_set1_ps(x)}; }
LANE F load(const float* p) { return {_mm512_loadu_ps(p)}; }
LANE F load_part(const float* p, int64_t n) { return {_mm512_maskz_loadu_ps(first(n), p)}; }
LANE void store(float* p, F x) { _mm512_storeu_ps(p, x.v); }
LANE void store_part(float* p, F x, int64_t n) { _mm512_mask_storeu_ps(p, first(n), x.v); }
LANE F add(F a, F b) { return {_mm512_add_ps(a.v, b.v)}; }
LANE F sub(F a, F b) { return {_mm512_sub_ps(a.v, b.v)}; }
LANE F mul(F a, F b) { return {_mm512_mul_ps(a.v, b.v)}; }
LANE F div(F a, F b) { return {_mm512_div_ps(a.v, b.v)}; }
LANE F fma(F a, F b, F c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
LANE F min(F a, F b) { return {_mm512_min_ps(a.v, b.v)}; }
LANE F max(F a, F b) { return {_mm512_max_ps(a.v, b.v)}; }
LANE F abs(F a) { return {_mm512_abs_ps(a.v)}; }
LANE F if_less(F a, F b, F yes, F no) {
  return {_mm512_mask_blend_ps(_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ), no.v, yes.v)};
}
LANE F keep_range(F x, int64_t lo, int64_t hi, F other) {
  const __mmask16 m = static_cast<__mmask16>(first(hi) & ~first(lo));
  return {_mm512_mask_blend_ps(m, other.v, x.v)};
}
LANE float sum(F x) { return _mm512_reduce_add_ps(x.v); }
LANE float most(F x) { return _mm512_reduce_max_ps(x.v); }
LANE I to_int(F x) { return {_mm512_cvtps_epi32(x.v)}; }
LANE F to_float(I x) { return {_mm512_cvtepi32_ps(x.v)}; }
LANE F times_power_of_two(F x, I n) { return {_mm512_scalef_ps(x.v, _mm512_cvtepi32_ps(n.v))}; }

LANE I load_int(const void* p) { return {_mm512_loadu_si512(p)}; }
template <int kBits>
LANE I shift_right(I x) {
  if constexpr (kBits == 0) return x;
  return {_mm512_srli_epi32(x.v, kBits)};
}
LANE I shift_right(I x, int bits) { return {_mm512_srl_epi32(x.v, _mm_cvtsi32_si128(bits))}; }
LANE I add_int(I a, I b) { return {_mm512_add_epi32(a.v, b.v)}; }
LANE I zero_int() { return {_mm512_setzero_si512()}; }
LANE uint32_t sum_int(I a) { return static_cast<uint32_t>(_mm512_reduce_add_epi32(a.v)); }
LANE Table load_table(const float* p) { return {_mm512_loadu_ps(p)}; }
LANE F lookup(Table t, I index) { return {_mm512_permutexvar_ps(index.v, t.v)}; }
template <int kByte>
LANE F byte_of(I x) {
  return {_mm512_cvtepi32_ps(_mm512_srai_epi32(_mm512_slli_epi32(x.v, 24 - 8 * kByte), 24))};
}
LANE F bf16_low(I x) { return {_mm512_castsi512_ps(_mm512_slli_epi32(x.v, 16))}; }
LANE F bf16_high(I x) {
  return {
      _mm512_castsi512_ps(_mm512_and_si512(x.v, _mm512_set1_epi32(static_cast<int>(0xffff0000u))))};
}
LANE F load_f16(const void* p) {
  return {_mm512_cvtph_ps(_mm256_loadu_si256(static_cast<const __m256i*>(p)))};
}
LANE F load_u8(const void* p) {
  return {
      _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(static_cast<const __m128i*>(p))))};
}
LANE F load_i8(const void* p) {
  return {
      _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(static_cast<const __m128i*>(p))))};
}
// 2^(code − 127), 0 for code 0.
LANE F load_e8m0(const void* p) {
  const __m512i code = _mm512_cvtepu8_epi32(_mm_loadu_si128(static_cast<const __m128i*>(p)));
  return {_mm512_castsi512_ps(_mm512_slli_epi32(code, 23))};
}
// Positive E4M3 times 2^−8: as the bits of an f16.
LANE F load_e4m3(const void* p) {
  const __m256i code = _mm256_cvtepu8_epi16(_mm_loadu_si128(static_cast<const __m128i*>(p)));
  return {_mm512_cvtph_ps(_mm256_slli_epi16(code, 7))};
}
// The exponent's bits of a positive float.
LANE I exponent_of(F x) { return {_mm512_srli_epi32(_mm512_castps_si512(x.v), 23)}; }
LANE void prefetch(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0); }
// Into the second-level cache.
LANE void prefetch_far(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T1); }

// r[i] lane j ← r[j] lane i.
LANE void transpose16(F (&r)[16]) {
  __m512 t[16];
  for (int i = 0; i < 16; i += 4) {
    const __m512 a = _mm512_unpacklo_ps(r[i].v, r[i + 1].v);
    const __m512 b = _mm512_unpackhi_ps(r[i].v, r[i + 1].v);
    const __m512 c = _mm512_unpacklo_ps(r[i + 2].v, r[i + 3].v);
    const __m512 d = _mm512_unpackhi_ps(r[i + 2].v, r[i + 3].v);
    t[i] = _mm512_shuffle_ps(a, c, 0x44);
    t[i + 1] = _mm512_shuffle_ps(a, c, 0xee);
    t[i + 2] = _mm512_shuffle_ps(b, d, 0x44);
    t[i + 3] = _mm512_shuffle_ps(b, d, 0xee);
  }
  for (int i = 0; i < 4; ++i) {  // t[4q + i], quarter c: column 4c + i of rows 4q … 4q + 3
    const __m512 a = _mm512_shuffle_f32x4(t[i], t[i + 4], 0x88);
    const __m512 b = _mm512_shuffle_f32x4(t[i], t[i + 4], 0xdd);
    const __m512 c = _mm512_shuffle_f32x4(t[i + 8], t[i + 12], 0x88);
    const __m512 d = _mm512_shuffle_f32x4(t[i + 8], t[i + 12], 0xdd);
    r[i].v = _mm512_shuffle_f32x4(a, c, 0x88);
    r[i + 8].v = _mm512_shuffle_f32x4(a, c, 0xdd);
    r[i + 4].v = _mm512_shuffle_f32x4(b, d, 0x88);
    r[i + 12].v = _mm512_shuffle_f32x4(b, d, 0xdd);
  }
}

constexpr int kTokensAtOnce = 12;  // 2 panels × 12 tokens: 24 accumulators of 32 registers
constexpr int kPanelsAtOnce = 2;
constexpr int kChainsAtOnce = 8;  // Additions take 4 cycles and two start in each: 8 chains.
// Panels that one row of x meets side by side, where registers allow it.
constexpr int kStreamsAtOnce = 2;

}  // namespace
}  // namespace lathe::cpu
