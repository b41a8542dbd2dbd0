// What the encoders of ggml's blocks share. Not for the layers above.
#pragma once

#include <cmath>
#include <cstdint>

#include "lathe/formats/detail.h"
#include "lathe/formats/gguf_blocks.h"

namespace lathe::gguf {

constexpr uint16_t kInfinite = 0x7c00;  // F16: marks a block whose weights do not fit

// 32 codes of four bits: i in the low half of byte i, i + 16 in its high half.
inline void pack_nibbles(const uint8_t* q, uint8_t* qs) {
  for (int i = 0; i < 16; ++i) qs[i] = static_cast<uint8_t>((q[i] & 15) | (q[i + 16] & 15) << 4);
}
inline void pack_fifth_bits(const uint8_t* q, uint8_t* qh) {
  uint32_t bits = 0;
  for (int i = 0; i < kSmall; ++i) bits |= static_cast<uint32_t>(q[i] >> 4) << i;
  formats::store(qh, 0, bits);
}

// Factors of the squared errors of one block: its importances over their mean, and never quite
// zero, so that weights of no importance stay near what they were. All 1 where none are given, or
// all are zero. False where a weight is too large for any of the types (the largest that one can
// hold is 65504 · 128 · 32), and where sums of squares could overflow.
inline bool weigh(const float* x, const float* importance, int count, float* w) {
  constexpr float kLargest = 1e9f, kFloor = 1e-6f;
  if (formats::absmax(x, count) > kLargest) return false;
  float mean = 0;
  for (int i = 0; importance && i < count; ++i) mean += importance[i] / static_cast<float>(count);
  const bool use = mean > 0 && std::isfinite(1.0f / mean);
  for (int i = 0; i < count; ++i) w[i] = use ? std::max(importance[i] / mean, kFloor) : 1.0f;
  return true;
}

}  // namespace lathe::gguf
