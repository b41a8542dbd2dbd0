// Integer lanes for packed codes on AVX2: two registers of eight rows. Included after lanes_avx2.h;
// see lanes_codes_avx512.h, which has the same functions.
#pragma once

#include "lathe/backend/cpu/lanes_avx2.h"

namespace lathe::cpu {
namespace {

struct Bytes16 {
  __m256i v;
};

template <int kBits>
LANE I shift(I x) {
  if constexpr (kBits > 0) return {_mm256_srli_epi32(x.a, kBits), _mm256_srli_epi32(x.b, kBits)};
  if constexpr (kBits < 0) return {_mm256_slli_epi32(x.a, -kBits), _mm256_slli_epi32(x.b, -kBits)};
  return x;
}
LANE I and_bytes(I x, int mask) {
  const __m256i m = _mm256_set1_epi8(static_cast<char>(mask));
  return {_mm256_and_si256(x.a, m), _mm256_and_si256(x.b, m)};
}
// x, and y under the mask: x | (y & mask).
LANE I or_masked(I x, I y, int mask) {
  const I m = and_bytes(y, mask);
  return {_mm256_or_si256(x.a, m.a), _mm256_or_si256(x.b, m.b)};
}
LANE I set1_int(int32_t x) { return {_mm256_set1_epi32(x), _mm256_set1_epi32(x)}; }
LANE I join(I high, I low) {
  return {_mm256_add_epi32(_mm256_slli_epi32(high.a, 7), low.a),
          _mm256_add_epi32(_mm256_slli_epi32(high.b, 7), low.b)};
}

// The pairwise sums of _mm256_maddubs_epi16 saturate at 16 bits: unsigned weights stay below 64
// here, and signed ones go in as magnitudes, their signs on x: 2 · 128 · 127 fits.
constexpr int32_t kSignedZero = 0;
LANE I from_signed(I x) { return x; }
LANE Bytes16 load_book(const int8_t* p) {
  return {_mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))};
}
LANE I lookup_bytes(Bytes16 book, I index) {
  return {_mm256_shuffle_epi8(book.v, index.a), _mm256_shuffle_epi8(book.v, index.b)};
}
LANE I lookup_low_bits(Bytes16 book, I bytes) { return lookup_bytes(book, and_bytes(bytes, 15)); }

LANE I quad(const int8_t* p) {
  int32_t x;
  __builtin_memcpy(&x, p, 4);
  return set1_int(x);
}
template <bool kSigned>
LANE __m256i pairs_of(__m256i weights, __m256i x) {
  return kSigned ? _mm256_maddubs_epi16(_mm256_abs_epi8(weights), _mm256_sign_epi8(x, weights))
                 : _mm256_maddubs_epi16(weights, x);
}
LANE __m256i add_pairs(__m256i acc, __m256i pairs) {
  return _mm256_add_epi32(acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}
template <bool kSigned>
LANE __m256i dot8(__m256i acc, __m256i weights, __m256i x) {
  return add_pairs(acc, pairs_of<kSigned>(weights, x));
}
template <bool kSigned>
LANE I dot(I acc, I weights, I x) {
  return {dot8<kSigned>(acc.a, weights.a, x.a), dot8<kSigned>(acc.b, weights.b, x.b)};
}
// One half of a row of x times the quads of a block: sums of 16 bits over kPairs quads, which they
// can hold, then of 32. One chain, short or not.
template <bool kSigned, int kPairs, bool kShort>
struct RowSums {
  I sums;
  __m256i a, b;
  LANE_MEMBER void start(I x) { sums = x; }
  template <int Q, int kQuads>
  LANE_MEMBER void at(I weights, I x) {
    const __m256i p = pairs_of<kSigned>(weights.a, x.a), q = pairs_of<kSigned>(weights.b, x.b);
    a = Q % kPairs == 0 ? p : _mm256_add_epi16(a, p);
    b = Q % kPairs == 0 ? q : _mm256_add_epi16(b, q);
    if constexpr (Q % kPairs == kPairs - 1 || Q == kQuads - 1) {
      sums = {add_pairs(sums.a, a), add_pairs(sums.b, b)};
    }
  }
  LANE_MEMBER I total() const { return sums; }
};
LANE __m128i low_bytes(I x) {
  const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(x.a, x.b), 0xd8);
  return _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
}
LANE void store_int(int32_t* p, I x) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), x.a);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p) + 1, x.b);
}
LANE void store_bytes(int8_t* p, I x) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), low_bytes(x));
}
LANE void store_half(int8_t* p, I x) {
  _mm_storel_epi64(reinterpret_cast<__m128i*>(p), low_bytes(x));
}
template <int kBits>
LANE I shift_signed(I x) {
  return {_mm256_srai_epi32(x.a, kBits), _mm256_srai_epi32(x.b, kBits)};
}
LANE I shift_left(I x, int bits) {
  const __m128i n = _mm_cvtsi32_si128(bits);
  return {_mm256_sll_epi32(x.a, n), _mm256_sll_epi32(x.b, n)};
}
LANE I sub_int(I x, I y) { return {_mm256_sub_epi32(x.a, y.a), _mm256_sub_epi32(x.b, y.b)}; }
LANE I magnitude(F x) {
  const __m256i m = _mm256_set1_epi32(0x7fffffff);
  return {_mm256_and_si256(_mm256_castps_si256(x.a), m),
          _mm256_and_si256(_mm256_castps_si256(x.b), m)};
}
LANE I max_int(I x, I y) { return {_mm256_max_epi32(x.a, y.a), _mm256_max_epi32(x.b, y.b)}; }
LANE int32_t most_int(I x) {
  const __m256i s = _mm256_max_epi32(x.a, x.b);
  __m128i q = _mm_max_epi32(_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1));
  q = _mm_max_epi32(q, _mm_shuffle_epi32(q, 0x4e));
  return _mm_cvtsi128_si32(_mm_max_epi32(q, _mm_shuffle_epi32(q, 0xb1)));
}

// Four sums of two registers each per token, of 16 registers.
constexpr int kCodeTokensAtOnce = 1;
// Sums of a product on bytes: 8 of 16 registers.
constexpr int kByteTokensAtOnce = 4;
constexpr int kBytePanelsAtOnce = 1;

}  // namespace
}  // namespace lathe::cpu
