// Integer groups of 2, 3 and 4 bits, packed as a stream of bits. Not for the layers above, which
// read layouts.h.
#pragma once

#include "lathe/formats/layouts.h"

namespace lathe::formats {

// Codes [0, cols) of one packed row, one to a byte.
void unpack_bits(const uint8_t* row, int64_t cols, int bits, uint8_t* codes);
// The reverse; what is left of the last byte is zero.
void pack_bits(const uint8_t* codes, int64_t cols, int bits, uint8_t* row);

// The same for the codes 1, 2, 3 of a ternary format: digits 0, 1, 2 in base 3, five to a byte, the
// first of them the lowest; ⌈cols / 5⌉ bytes.
void unpack_trits(const uint8_t* row, int64_t cols, uint8_t* codes);
void pack_trits(const uint8_t* codes, int64_t cols, uint8_t* row);

// By layout: bytes of a packed row, and either of the two.
int64_t packed_row_bytes(const BitsLayout& layout, int64_t cols);
void unpack_row(const BitsLayout& layout, const uint8_t* row, int64_t cols, uint8_t* codes);
void pack_row(const BitsLayout& layout, const uint8_t* codes, int64_t cols, uint8_t* row);

// The scale of least squared error for weights −s, 0 and s: s = mean of the k largest magnitudes,
// for the k that makes (their sum)² / k largest (Li et al. 2016, "Ternary Weight Networks",
// equation 4, solved exactly).
float ternary_scale(const float* x, int64_t count);

// `group` is a multiple of 16.
FormatPtr make_bits_format(int bits, int64_t group, ZeroKind zero);
// gN[,asym|,offset]; the error names the format.
Result<FormatPtr> parse_bits(std::string_view name, int bits, std::string_view options);

}  // namespace lathe::formats
