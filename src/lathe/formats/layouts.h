// What a kernel needs to know to read the parts of a format without decoding whole rows: group
// sizes, tables, scales. GGUF blocks are in gguf_blocks.h.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "lathe/formats/format.h"

namespace lathe {

// Encoding::kInt8 and Encoding::kInt4; parts as described in int8.cc and int4.cc.
struct IntLayout {
  int64_t group;    // columns that share a scale; 0: the whole row, whose scales are f32
  bool asymmetric;  // has a part with zero points; otherwise zero is 0 (int8) or 8 (int4)
};
IntLayout int_layout(const Format& format);

// Encoding::kBits; parts as described in bits.cc.
enum class ZeroKind : uint8_t { kMiddle, kPoint, kOffset };
struct BitsLayout {
  int bits;  // 2, 3 or 4
  int64_t group;
  // w = scale · (code − zero), zero being 2^(bits − 1) or the part `weight.zero`; or
  // w = scale · code + offset
  ZeroKind zero;
  bool ternary = false;  // two bits of which code 0 is not used, stored as five digits to a byte
};
BitsLayout bits_layout(const Format& format);
// The codes of one row, one to a byte. The parts must have passed validate().
std::vector<uint8_t> bits_codes(const Format& format, std::span<const Bytes> parts, int64_t cols,
                                int64_t row);

// Encoding::kMicro; parts as described in micro.cc.
const std::array<float, 16>& e2m1_values();  // by code
float e4m3_value(uint8_t code);
int64_t micro_block(const Format& format);  // columns that share a scale
// The scales of the blocks of one row; those of nvfp4 with the matrix's own scale in them.
void micro_scales(const Format& format, std::span<const Bytes> parts, int64_t rows, int64_t cols,
                  int64_t row, float* out);

// Encoding::kCodebook4: w[i] = code[nibble i] · absmax[i / block] over the flattened matrix, with
// the even i in the high nibble.
struct Codebook4Layout {
  int64_t block;  // a power of two, 32…4096
  bool nested;    // the absmax are themselves quantized
};
Codebook4Layout codebook4_layout(const Format& format);

// The tables of one stored matrix; the parts must have passed validate().
struct Codebook4View {
  const uint8_t* codes;  // ⌈rows·cols / 2⌉ bytes
  std::array<float, 16> code;
  int64_t blocks;  // ⌈rows·cols / block⌉
  // f32 scale of blocks [begin, end), dequantized if nested.
  void absmax(int64_t begin, int64_t end, float* out) const;

  const uint8_t* stored_absmax;  // f32, or u8 if nested; any alignment
  bool nested;
  std::array<float, 256> nested_code;
  const uint8_t* nested_absmax;  // f32, one per 256 blocks; any alignment
  float offset;
};
Codebook4View codebook4_view(const Format& format, std::span<const Bytes> parts, int64_t rows,
                             int64_t cols);

}  // namespace lathe
