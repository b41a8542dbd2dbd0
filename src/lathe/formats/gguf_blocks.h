// The block structures of ggml's quantized types, byte for byte (ggml-common.h). All multi-byte
// fields are little-endian. F16 fields hold the bits of a half.
#pragma once

#include <cstdint>

namespace lathe::gguf {

constexpr int kSmall = 32;   // weights in a block of the older types
constexpr int kSuper = 256;  // weights in a super-block of the K-types

struct BlockQ4_0 {  // w = d · (q − 8)
  uint16_t d;       // F16 scale
  uint8_t qs[16];   // low nibble: weights 0…15; high nibble: 16…31
};
static_assert(sizeof(BlockQ4_0) == 18);

struct BlockQ4_1 {  // w = d · q + m
  uint16_t d;       // F16 scale
  uint16_t m;       // F16 minimum
  uint8_t qs[16];   // as Q4_0
};
static_assert(sizeof(BlockQ4_1) == 20);

struct BlockQ5_0 {  // w = d · (q − 16)
  uint16_t d;       // F16 scale
  uint8_t qh[4];    // bit i: the fifth bit of weight i
  uint8_t qs[16];   // low four bits, as Q4_0
};
static_assert(sizeof(BlockQ5_0) == 22);

struct BlockQ5_1 {  // w = d · q + m
  uint16_t d;       // F16 scale
  uint16_t m;       // F16 minimum
  uint8_t qh[4];    // as Q5_0
  uint8_t qs[16];   // as Q5_0
};
static_assert(sizeof(BlockQ5_1) == 24);

struct BlockQ8_0 {  // w = q · d
  uint16_t d;       // F16 scale
  int8_t qs[32];    // weight i
};
static_assert(sizeof(BlockQ8_0) == 34);

struct BlockIQ4_NL {  // w = d · kIq4Values[q]
  uint16_t d;         // F16 scale
  uint8_t qs[16];     // as Q4_0
};
static_assert(sizeof(BlockIQ4_NL) == 18);

// In the K-types a super-block of 256 weights has 16 sub-blocks of 16 (Q2, Q3, Q6) or 8 of 32
// (Q4, Q5).

struct BlockQ2_K {     // w = d · s · q − dmin · m
  uint8_t scales[16];  // sub-block i: low nibble s, high nibble m
  uint8_t qs[64];      // 2 bits a weight: weight 128·h + 32·j + l in bits 2j of byte 32·h + l
  uint16_t d;          // F16 scale of the scales
  uint16_t dmin;       // F16 scale of the minima
};
static_assert(sizeof(BlockQ2_K) == 84);

struct BlockQ3_K {     // w = d · (s − 32) · (q − 4·[high bit clear])
  uint8_t hmask[32];   // high bits: weight 32·j + l in bit j of byte l
  uint8_t qs[64];      // low 2 bits, as Q2_K
  uint8_t scales[12];  // 6 bits a sub-block i: low 4 in nibble i/8 of byte i % 8, high 2 in bits
                       // 2·(i/4) of byte 8 + i % 4
  uint16_t d;          // F16 scale of the scales
};
static_assert(sizeof(BlockQ3_K) == 110);

struct BlockQ4_K {     // w = d · s · q − dmin · m
  uint16_t d;          // F16 scale of the scales
  uint16_t dmin;       // F16 scale of the minima
  uint8_t scales[12];  // 6 bits each of s and m for 8 sub-blocks: scale_min()
  uint8_t qs[128];     // weight 64·j + l: low nibble of byte 32·j + l; + 32: high nibble
};
static_assert(sizeof(BlockQ4_K) == 144);

struct BlockQ5_K {     // w = d · s · q − dmin · m
  uint16_t d;          // F16 scale of the scales
  uint16_t dmin;       // F16 scale of the minima
  uint8_t scales[12];  // as Q4_K
  uint8_t qh[32];      // fifth bits: weight 32·j + l in bit j of byte l
  uint8_t qs[128];     // low four bits, as Q4_K
};
static_assert(sizeof(BlockQ5_K) == 176);

struct BlockQ6_K {    // w = d · s · (q − 32)
  uint8_t ql[128];    // low four bits: weight 128·h + 64·n + l in nibble n of byte 64·h + l
  uint8_t qh[64];     // high two bits: weight 128·h + 32·j + l in bits 2j of byte 32·h + l
  int8_t scales[16];  // s of sub-block i
  uint16_t d;         // F16 scale of the scales
};
static_assert(sizeof(BlockQ6_K) == 210);

// The values of IQ4_NL's codes: denser near zero, and without a zero.
constexpr int8_t kIq4Values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                   1,    13,   25,  38,  53,  69,  89,  113};

// Scale and minimum (6 bits each) of sub-block i of Q4_K and Q5_K. The first four lie in the low
// six bits of bytes i and i + 4; the others have their low four bits in byte i + 4 and their high
// two on top of the first four.
struct ScaleMin {
  uint8_t scale, min;
};
inline ScaleMin scale_min(const uint8_t* scales, int i) {
  if (i < 4) {
    return {static_cast<uint8_t>(scales[i] & 63), static_cast<uint8_t>(scales[i + 4] & 63)};
  }
  return {static_cast<uint8_t>((scales[i + 4] & 15) | ((scales[i - 4] >> 6) << 4)),
          static_cast<uint8_t>((scales[i + 4] >> 4) | ((scales[i] >> 6) << 4))};
}

}  // namespace lathe::gguf
