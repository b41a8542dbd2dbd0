// Integer groups of 2, 3 and 4 bits, packed as a stream of bits. Not for the layers above, which
// read layouts.h.
#pragma once

#include "lathe/formats/layouts.h"

namespace lathe::formats {

// Codes [0, cols) of one packed row, one to a byte.
void unpack_bits(const uint8_t* row, int64_t cols, int bits, uint8_t* codes);
// The reverse; what is left of the last byte is zero.
void pack_bits(const uint8_t* codes, int64_t cols, int bits, uint8_t* row);

// `group` is a multiple of 16.
FormatPtr make_bits_format(int bits, int64_t group, ZeroKind zero);
// gN[,asym|,offset]; the error names the format.
Result<FormatPtr> parse_bits(std::string_view name, int bits, std::string_view options);

}  // namespace lathe::formats
