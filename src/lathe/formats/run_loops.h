// The loops over runs of weights that encoding and decoding spend their time in, compiled for
// several vector widths (base/wide.h). All give the same bits on each.
#pragma once

#include <array>
#include <cstdint>

namespace lathe::formats {

struct Range {
  float low, high;  // min(0, x), max(0, x)
};
Range range_of(const float* x, int64_t count);

// codes = round(x · factor) + zero, ties to even, brought into [lowest, highest].
void round_codes(const float* x, int64_t count, float factor, int zero, int lowest, int highest,
                 uint8_t* codes);
// The same of x · lift · factor, signed and without bounds.
void round_bytes(const float* x, int64_t count, float lift, float factor, int8_t* codes);
// out = codes · scale
void scale_bytes(const int8_t* codes, int64_t count, float scale, float* out);

// Two codes to a byte, the even one low or high; `count` is even. Bits above the fourth must be 0.
void pack_low_first(const uint8_t* codes, int64_t count, uint8_t* out);
void pack_high_first(const uint8_t* codes, int64_t count, uint8_t* out);
// out = scale · (code − zero) of such pairs, the low one first.
void scale_pairs(const uint8_t* pairs, int64_t count, float scale, int zero, float* out);
// out = table[code] of such pairs, the high one first.
void look_up_pairs(const uint8_t* pairs, int64_t count, const std::array<float, 16>& table,
                   float* out);

// The number of bounds below x · factor (divided: x / factor), which is first brought into [−1, 1].
void rank_codes(const float* x, int64_t count, float factor, bool divided,
                const std::array<float, 15>& bounds, uint8_t* ranks);

}  // namespace lathe::formats
