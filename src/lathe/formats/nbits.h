// The weights of onnxruntime's operator com.microsoft.MatMulNBits: whole-number codes in blocks
// along the columns, each with a scale and a zero point, w = scale · (code − zero).
// Source: onnxruntime's docs/ContribOperators.md.
#pragma once

#include <cstdint>
#include <string_view>

#include "lathe/formats/weight_matrix.h"

namespace lathe {

struct NBits {
  int bits = 4;       // 2, 4 or 8
  int64_t block = 0;  // columns: a power of two from 16 on
  int64_t rows = 0, cols = 0;
  // U8 [rows, blocks, block · bits / 8], the first column in the lowest bits. What the last block
  // has beyond the last column has no meaning.
  Bytes codes;
  Bytes scales;  // F32 [rows, blocks]
  // U8 [rows, ⌈blocks · bits / 8⌉], packed as the codes are; empty: every zero point is
  // 2^(bits − 1).
  Bytes zeros;

  int64_t blocks() const { return (cols + block - 1) / block; }
};

// Whether to_nbits() holds a matrix of this format: int8, int4, int3 and int2 but with offsets,
// q4_0, q5_0, q8_0 and q6_k.
bool nbits_holds(const Format& format);
// The columns of a block that to_nbits() gives such a matrix. Groups that are no power of two, or
// longer than 256, are cut into blocks with one scale each.
int64_t nbits_block(const Format& format, int64_t cols);
// The same weights, number for number.
NBits to_nbits(const WeightMatrix& matrix);

// The weights in the format of Lathe that has them without a change: int8:gN, int8:row, int4:gN,
// int4:gN,asym, int4:row, int2:gN, int2:gN,asym; and f32 where none has (scales that are no F16
// numbers, 8 bits with zero points). Refuses (kBadInput) sizes that do not fit each other, and
// weights that are not finite.
Result<WeightMatrix> from_nbits(const NBits& source, std::string_view where);

}  // namespace lathe
