// Elements of the key-value cache as lanes. Included after lanes_*.h, once per instruction set.
#pragma once

#include "lathe/backend/cpu/kernels.h"

namespace lathe::cpu {
namespace {

LANE F load_bf16(const void* p) {
#if defined(__AVX512F__)
  const __m256i half = _mm256_loadu_si256(static_cast<const __m256i*>(p));
  return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16))};
#elif defined(__AVX2__)
  const __m128i* halves = static_cast<const __m128i*>(p);
  const __m256i a = _mm256_cvtepu16_epi32(_mm_loadu_si128(halves));
  const __m256i b = _mm256_cvtepu16_epi32(_mm_loadu_si128(halves + 1));
  return {_mm256_castsi256_ps(_mm256_slli_epi32(a, 16)),
          _mm256_castsi256_ps(_mm256_slli_epi32(b, 16))};
#else
  uint16_t half[16];
  __builtin_memcpy(half, p, sizeof(half));
  float x[16];
  for (int i = 0; i < 16; ++i) {
    const uint32_t bits = static_cast<uint32_t>(half[i]) << 16;
    __builtin_memcpy(&x[i], &bits, 4);
  }
  return load(x);
#endif
}

template <KvCode kCode>
constexpr int64_t kKvBytes = kCode == KvCode::kF32    ? 4
                             : kCode == KvCode::kInt8 ? 1
                                                      : 2;

// Elements k of 16 lanes; J = k % 4 (int8 only).
template <KvCode kCode, int J>
LANE F load_kv(const KvTile& t, int64_t panel, int64_t k) {
  const uint8_t* data = static_cast<const uint8_t*>(t.data);
  const int64_t first = panel * t.panel_stride;
  if constexpr (kCode == KvCode::kInt8) {
    const F w = byte_of<J>(load_int(data + first + k / 4 * 64));
    return t.depth_scales ? mul(w, set1(t.depth_scales[k])) : w;
  } else {
    const uint8_t* p = data + kKvBytes<kCode> * (first + k * t.stride);
    if constexpr (kCode == KvCode::kF32) return load(reinterpret_cast<const float*>(p));
    if constexpr (kCode == KvCode::kF16) return load_f16(p);
    return load_bf16(p);
  }
}

}  // namespace
}  // namespace lathe::cpu
