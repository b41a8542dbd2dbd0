#if defined(__GNUC__) && !defined(__clang__)
// GCC's own intrinsics pass deliberately undefined registers (GCC bug 105593).
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>

#include "lathe/backend/cpu/peaks.h"

namespace lathe::cpu {
namespace {

constexpr int kChains = 16;

}  // namespace

int64_t burn_bf16_avx512(int64_t rounds, int64_t* ops) noexcept {
  // Starts that the compiler cannot know, so that no chain is shared or left out; the factors are
  // 0.5 and 0.
  __m512 sums[kChains];
  for (int i = 0; i < kChains; ++i) sums[i] = _mm512_set1_ps(static_cast<float>(rounds + i));
  const __m512bh a = (__m512bh)_mm512_set1_epi32(0x3f003f00);
  const __m512bh b = (__m512bh)_mm512_set1_epi32(0);
  for (int64_t r = 0; r < rounds; ++r) {
    for (__m512& s : sums) s = _mm512_dpbf16_ps(s, a, b);
  }
  *ops = kChains * 32 * 2;
  __m512 total = sums[0];
  for (int i = 1; i < kChains; ++i) total = _mm512_add_ps(total, sums[i]);
  return static_cast<int64_t>(_mm512_reduce_add_ps(total));
}

int64_t burn_int8_avx512(int64_t rounds, int64_t* ops) noexcept {
  __m512i sums[kChains];
  for (int i = 0; i < kChains; ++i) sums[i] = _mm512_set1_epi32(static_cast<int>(rounds) + i);
  const __m512i a = _mm512_set1_epi8(1);
  const __m512i b = _mm512_set1_epi8(static_cast<char>(rounds & 1));
  for (int64_t r = 0; r < rounds; ++r) {
    for (__m512i& s : sums) s = _mm512_dpbusd_epi32(s, a, b);
  }
  *ops = kChains * 64 * 2;
  __m512i total = sums[0];
  for (int i = 1; i < kChains; ++i) total = _mm512_add_epi32(total, sums[i]);
  return _mm512_reduce_add_epi32(total);
}

}  // namespace lathe::cpu
