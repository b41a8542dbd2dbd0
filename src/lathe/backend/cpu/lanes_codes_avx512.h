// Integer lanes for packed codes on AVX-512 with VNNI: 64 bytes, the dwords of which belong to the
// rows of a panel. Included after lanes_avx512.h; lanes_codes_avx2.h has the same functions.
#pragma once

#include "lathe/backend/cpu/lanes_avx512.h"

namespace lathe::cpu {
namespace {

struct Bytes16 {
  __m512i v;
};

template <int kBits>
LANE I shift(I x) {  // to the right; to the left if negative
  if constexpr (kBits > 0) return {_mm512_srli_epi32(x.v, kBits)};
  if constexpr (kBits < 0) return {_mm512_slli_epi32(x.v, -kBits)};
  return x;
}
LANE I and_bytes(I x, int mask) {
  return {_mm512_and_si512(x.v, _mm512_set1_epi8(static_cast<char>(mask)))};
}
// x, and y under the mask: x | (y & mask).
LANE I or_masked(I x, I y, int mask) {
  return {_mm512_ternarylogic_epi32(x.v, y.v, _mm512_set1_epi8(static_cast<char>(mask)), 0xf8)};
}
LANE I set1_int(int32_t x) { return {_mm512_set1_epi32(x)}; }
// 128·high + low.
LANE I join(I high, I low) { return {_mm512_add_epi32(_mm512_slli_epi32(high.v, 7), low.v)}; }

// Signed weights are raised by kSignedZero, since the multiplier takes unsigned ones.
constexpr int32_t kSignedZero = 128;
LANE I from_signed(I x) {
  return {_mm512_xor_si512(x.v, _mm512_set1_epi8(static_cast<char>(0x80)))};
}
LANE Bytes16 load_book(const int8_t* p) {
  const __m512i v = _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  return {from_signed({v}).v};
}
LANE I lookup_bytes(Bytes16 book, I index) { return {_mm512_shuffle_epi8(book.v, index.v)}; }
// The same for the low four bits of each byte: the permutation takes six, and the table stands
// there four times.
LANE I lookup_low_bits(Bytes16 book, I bytes) { return {_mm512_permutexvar_epi8(bytes.v, book.v)}; }

// Four bytes of x for every row.
LANE I quad(const int8_t* p) {
  int32_t x;
  __builtin_memcpy(&x, p, 4);
  return {_mm512_set1_epi32(x)};
}
// acc + Σ over the four bytes of a dword. kSigned: what from_signed() or load_book() gave.
template <bool kSigned>
LANE I dot(I acc, I weights, I x) {
  // GCC 12 copies every sum of a loop once more per round for the intrinsic; without that the same
  // loops take 0.8 of the time.
  asm("vpdpbusd %2, %1, %0" : "+v"(acc.v) : "v"(weights.v), "v"(x.v));
  return acc;
}
// One half of a row of x times the quads of a block: in two chains where they are long, in one
// where adding the two would cost more.
template <bool kSigned, int kPairs, bool kShort>
struct RowSums {
  I even, odd;
  LANE_MEMBER void start(I x) {
    even = x;
    odd = {_mm512_setzero_si512()};
  }
  template <int Q, int kQuads>
  LANE_MEMBER void at(I weights, I x) {
    I& s = kShort || Q % 2 == 0 ? even : odd;
    s = dot<kSigned>(s, weights, x);
  }
  LANE_MEMBER I total() const { return kShort ? even : I{_mm512_add_epi32(even.v, odd.v)}; }
};
LANE void store_int(int32_t* p, I x) { _mm512_storeu_si512(p, x.v); }
// The low bytes of 16 dwords.
LANE void store_bytes(int8_t* p, I x) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(x.v));
}
// The low bytes of the first 8 dwords.
LANE void store_half(int8_t* p, I x) {
  _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(x.v));
}
template <int kBits>
LANE I shift_signed(I x) {
  return {_mm512_srai_epi32(x.v, kBits)};
}
LANE I shift_left(I x, int bits) { return {_mm512_sll_epi32(x.v, _mm_cvtsi32_si128(bits))}; }
LANE I sub_int(I a, I b) { return {_mm512_sub_epi32(a.v, b.v)}; }
// |x| of floats as integers: in their order, infinity above the numbers and NaN above infinity.
LANE I magnitude(F x) {
  return {_mm512_and_si512(_mm512_castps_si512(x.v), _mm512_set1_epi32(0x7fffffff))};
}
LANE I max_int(I a, I b) { return {_mm512_max_epi32(a.v, b.v)}; }
LANE int32_t most_int(I x) { return _mm512_reduce_max_epi32(x.v); }

// Tokens that share the unpacking of a vector: four sums each, of 32 registers.
constexpr int kCodeTokensAtOnce = 4;
// Sums of a product on bytes: 16 of 32 registers.
constexpr int kByteTokensAtOnce = 8;
constexpr int kBytePanelsAtOnce = 2;

}  // namespace
}  // namespace lathe::cpu
