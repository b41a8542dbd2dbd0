// Spreading codes under a mask one by one; see lanes_sparse_avx512.h.
#pragma once

#include "lathe/backend/cpu/lanes_portable.h"

namespace lathe::cpu {
namespace {

LANE void spread_bytes(uint64_t mask, const uint8_t* p, uint8_t* out) {
  for (int i = 0; i < 64; ++i, mask >>= 1) out[i] = mask & 1 ? *p++ : uint8_t{0};
}

LANE void spread_words(uint32_t mask, const uint8_t* p, uint8_t* out) {
  for (int i = 0; i < 32; ++i, mask >>= 1) {
    out[2 * i] = mask & 1 ? *p++ : uint8_t{0};
    out[2 * i + 1] = mask & 1 ? *p++ : uint8_t{0};
  }
}

LANE void spread_nibbles(uint64_t low, uint64_t high, const uint8_t* p, const uint8_t* fill,
                         uint8_t* out) {
  int at = 0;
  for (int i = 0; i < 64; ++i, low >>= 1) {
    out[i] = fill[i];
    if (low & 1) out[i] = static_cast<uint8_t>(p[at / 2] >> at % 2 * 4 & 15), ++at;
  }
  p += (at + 1) / 2;
  at = 0;
  for (int i = 0; i < 64; ++i, high >>= 1) {
    uint8_t code = fill[i];
    if (high & 1) code = static_cast<uint8_t>(p[at / 2] >> at % 2 * 4 & 15), ++at;
    out[i] = static_cast<uint8_t>(out[i] | code << 4);
  }
}

}  // namespace
}  // namespace lathe::cpu
