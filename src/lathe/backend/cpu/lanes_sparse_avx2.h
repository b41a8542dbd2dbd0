// Spreading codes under a mask on AVX2 with BMI2, eight bytes at a time; see lanes_sparse_avx512.h.
#pragma once

#include "lathe/backend/cpu/lanes_avx2.h"

namespace lathe::cpu {
namespace {

LANE uint64_t load_eight(const uint8_t* p) {
  uint64_t x;
  __builtin_memcpy(&x, p, 8);
  return x;
}

// The bytes of `next` where a bit of the mask is set, those of `none` elsewhere.
LANE uint64_t spread_eight(uint64_t mask, uint64_t next, uint64_t none) {
  const uint64_t bytes = _pdep_u64(mask & 0xff, 0x0101010101010101u) * 0xff;
  return _pdep_u64(next, bytes) | (none & ~bytes);
}

LANE void spread_bytes(uint64_t mask, const uint8_t* p, uint8_t* out) {
  for (int i = 0; i < 64; i += 8, mask >>= 8) {
    const uint64_t spread = spread_eight(mask, load_eight(p), 0);
    __builtin_memcpy(out + i, &spread, 8);
    p += __builtin_popcountll(mask & 0xff);
  }
}

LANE void spread_words(uint32_t mask, const uint8_t* p, uint8_t* out) {
  for (int i = 0; i < 64; i += 8, mask >>= 4) {
    const uint64_t words = _pdep_u64(mask & 15, 0x0001000100010001u) * 0xffff;
    const uint64_t spread = _pdep_u64(load_eight(p), words);
    __builtin_memcpy(out + i, &spread, 8);
    p += 2 * __builtin_popcount(mask & 15);
  }
}

LANE void spread_nibbles(uint64_t low, uint64_t high, const uint8_t* p, const uint8_t* fill,
                         uint8_t* out) {
  alignas(32) uint8_t halves[2][64 + 8];
  for (int h = 0; h < 2; ++h) {
    for (int i = 0; i < 32; i += 4) {
      uint32_t x;
      __builtin_memcpy(&x, p + i, 4);
      const uint64_t pairs = _pdep_u64(x, 0x0f0f0f0f0f0f0f0fu);
      __builtin_memcpy(halves[h] + 2 * i, &pairs, 8);
    }
    p += (__builtin_popcountll(low) + 1) / 2;
  }
  const uint8_t *a = halves[0], *b = halves[1];
  for (int i = 0; i < 64; i += 8, low >>= 8, high >>= 8) {
    const uint64_t none = load_eight(fill + i);
    const uint64_t spread =
        spread_eight(low, load_eight(a), none) | spread_eight(high, load_eight(b), none) << 4;
    __builtin_memcpy(out + i, &spread, 8);
    a += __builtin_popcountll(low & 0xff);
    b += __builtin_popcountll(high & 0xff);
  }
}

}  // namespace
}  // namespace lathe::cpu
