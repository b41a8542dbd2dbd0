// The codes of a dense format one by one, for the sparse layouts that leave some of them out. Not
// for the layers above.
#pragma once

#include "lathe/formats/format.h"

namespace lathe::formats {

class DenseCodes {
 public:
  // f16, bf16, int8, int4 without ',offset', nf4, fp4.
  static Result<DenseCodes> create(FormatPtr dense);

  const FormatPtr& format() const { return format_; }
  int bits() const { return bits_; }  // of a code: 4, 8 or 16
  // Codes are the first part; its rows are `row_bytes` long, or run on (code books).
  bool rows_run_on() const { return runs_on_; }

  // The codes of one row of the part at `codes`, [cols] each way. write() wants the part zeroed.
  void read(const uint8_t* codes, int64_t cols, int64_t row, uint16_t* out) const;
  void write(const uint16_t* in, int64_t rows, int64_t cols, int64_t row, uint8_t* codes) const;
  // The codes that stand for exactly 0. `others`: the dense parts behind the first.
  void zeros(std::span<const Bytes> others, int64_t cols, int64_t row, uint16_t* out) const;

 private:
  FormatPtr format_;
  int bits_ = 8;
  bool runs_on_ = false;
  int64_t group_ = 0;  // of zero points; 0: none
  uint16_t zero_ = 0;
};

// A run of codes of 4, 8 or 16 bits, the low nibble first.
inline int64_t bytes_of_codes(int64_t count, int bits) { return (count * bits + 7) / 8; }
void put_code(uint8_t* run, int64_t index, int bits, uint16_t code);
uint16_t code_at(const uint8_t* run, int64_t index, int bits);

}  // namespace lathe::formats
