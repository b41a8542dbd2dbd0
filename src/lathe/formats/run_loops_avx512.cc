#include "lathe/formats/run_loops_avx512.h"

#if defined(__x86_64__)
#if defined(__GNUC__) && !defined(__clang__)
// GCC's own intrinsics pass deliberately undefined registers (GCC bug 105593).
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>
#endif

namespace lathe::formats {

#if defined(__x86_64__)

#define LATHE_AVX512 __attribute__((target("avx512f,avx512bw,avx512vl")))

bool has_avx512() {
  static const bool has = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                          __builtin_cpu_supports("avx512vl");
  return has;
}

LATHE_AVX512 int64_t pack_pairs_avx512(const uint8_t* codes, int64_t count, int first, int second,
                                       uint8_t* out) {
  const __m512i factors = _mm512_set1_epi16(static_cast<int16_t>(first | second << 8));
  int64_t i = 0;
  for (; i + 64 <= count; i += 64) {
    const __m512i pairs = _mm512_maddubs_epi16(_mm512_loadu_si512(codes + i), factors);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + i / 2), _mm512_cvtepi16_epi8(pairs));
  }
  return i;
}

LATHE_AVX512 int64_t look_up_pairs_avx512(const uint8_t* pairs, int64_t count,
                                          const std::array<float, 16>& table, float* out) {
  const __m512 values = _mm512_loadu_ps(table.data());
  const __m128i low = _mm_set1_epi8(15);
  int64_t i = 0;
  for (; i + 16 <= count; i += 16) {
    const __m128i both = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(pairs + i / 2));
    const __m128i codes =
        _mm_unpacklo_epi8(_mm_and_si128(_mm_srli_epi16(both, 4), low), _mm_and_si128(both, low));
    _mm512_storeu_ps(out + i, _mm512_permutexvar_ps(_mm512_cvtepu8_epi32(codes), values));
  }
  return i;
}

// Adds n to the ranks of what lies above bounds[rank + n − 1], `shifted` being the bounds from n
// − 1.
LATHE_AVX512 static inline __m512i raised(__m512i rank, __m512 s, __m512 shifted, int n) {
  const __mmask16 above = _mm512_cmp_ps_mask(s, _mm512_permutexvar_ps(rank, shifted), _CMP_GT_OQ);
  return _mm512_mask_add_epi32(rank, above, rank, _mm512_set1_epi32(n));
}

LATHE_AVX512 int64_t rank_codes_avx512(const float* x, int64_t count, float factor, bool divided,
                                       const std::array<float, 15>& bounds, uint8_t* ranks) {
  const __m512 eight = _mm512_set1_ps(bounds[7]), by = _mm512_set1_ps(factor);
  const __m512 one = _mm512_maskz_loadu_ps(0x7fff, bounds.data());
  const __m512 two = _mm512_maskz_loadu_ps(0x3fff, bounds.data() + 1);
  const __m512 four = _mm512_maskz_loadu_ps(0x0fff, bounds.data() + 3);
  int64_t i = 0;
  for (; i + 16 <= count; i += 16) {
    const __m512 given = _mm512_loadu_ps(x + i);
    const __m512 s = divided ? _mm512_div_ps(given, by) : _mm512_mul_ps(given, by);
    __m512i rank = _mm512_maskz_set1_epi32(_mm512_cmp_ps_mask(s, eight, _CMP_GT_OQ), 8);
    rank = raised(rank, s, four, 4);
    rank = raised(rank, s, two, 2);
    rank = raised(rank, s, one, 1);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(ranks + i), _mm512_cvtepi32_epi8(rank));
  }
  return i;
}

#else

bool has_avx512() { return false; }
int64_t pack_pairs_avx512(const uint8_t*, int64_t, int, int, uint8_t*) { return 0; }
int64_t look_up_pairs_avx512(const uint8_t*, int64_t, const std::array<float, 16>&, float*) {
  return 0;
}
int64_t rank_codes_avx512(const float*, int64_t, float, bool, const std::array<float, 15>&,
                          uint8_t*) {
  return 0;
}

#endif

}  // namespace lathe::formats
