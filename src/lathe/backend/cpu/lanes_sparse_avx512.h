// Spreading codes under a mask on AVX-512 with VBMI2: one instruction for a vector. Included after
// lanes_avx512.h; the other lanes_sparse_*.h have the same functions.
#pragma once

#include "lathe/backend/cpu/lanes_avx512.h"

namespace lathe::cpu {
namespace {

// Where a bit of the mask is set the next byte of p, else 0. 64 bytes may be read. The load stands
// by itself: expansion from memory is microcode on Zen 4.
LANE void spread_bytes(uint64_t mask, const uint8_t* p, uint8_t* out) {
  _mm512_store_si512(out, _mm512_maskz_expand_epi8(mask, _mm512_loadu_si512(p)));
}
// The same for words of two bytes.
LANE void spread_words(uint32_t mask, const uint8_t* p, uint8_t* out) {
  _mm512_store_si512(out, _mm512_maskz_expand_epi16(mask, _mm512_loadu_si512(p)));
}
// 64 halves of bytes, one to a byte.
LANE __m512i unpack_nibbles(const uint8_t* p) {
  const __m512i words =
      _mm512_cvtepu8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  return _mm512_and_si512(_mm512_or_si512(words, _mm512_slli_epi16(words, 4)),
                          _mm512_set1_epi8(15));
}
// Halves of bytes: the low halves of a vector under the first mask, the high ones under the second,
// whose codes begin at the next byte; `fill` where there is none.
LANE void spread_nibbles(uint64_t low, uint64_t high, const uint8_t* p, const uint8_t* fill,
                         uint8_t* out) {
  const __m512i none = _mm512_load_si512(fill);
  const __m512i a = _mm512_mask_expand_epi8(none, low, unpack_nibbles(p));
  p += (__builtin_popcountll(low) + 1) / 2;
  const __m512i b = _mm512_mask_expand_epi8(none, high, unpack_nibbles(p));
  _mm512_store_si512(out, _mm512_or_si512(a, _mm512_slli_epi16(b, 4)));
}

}  // namespace
}  // namespace lathe::cpu
