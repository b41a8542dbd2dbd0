#include "lathe/formats/sparse_codes.h"

#include <algorithm>

#include "lathe/formats/detail.h"
#include "lathe/formats/layouts.h"

namespace lathe::formats {

Result<DenseCodes> DenseCodes::create(FormatPtr dense) {
  DenseCodes codes;
  switch (dense->encoding()) {
    case Encoding::kFloat:
      if (dense->lossless()) break;
      codes.bits_ = 16;
      codes.format_ = std::move(dense);
      return codes;
    case Encoding::kInt8:
      codes.format_ = std::move(dense);
      return codes;
    case Encoding::kInt4: {
      const IntLayout layout = int_layout(*dense);
      codes.bits_ = 4;
      codes.zero_ = 8;
      codes.group_ = layout.asymmetric ? layout.group : 0;
      codes.format_ = std::move(dense);
      return codes;
    }
    case Encoding::kCodebook4:
      codes.bits_ = 4;
      codes.runs_on_ = true;
      codes.zero_ = dense->spec().starts_with("nf4") ? 7 : 0;
      codes.format_ = std::move(dense);
      return codes;
    default:
      break;
  }
  return unsupported("format {} has no sparse layout", dense->spec())
      .with_hint("formats that have: f16, bf16, int8, int4 (not ',offset'), nf4, fp4");
}

void put_code(uint8_t* run, int64_t index, int bits, uint16_t code) {
  if (bits == 16) {
    store(run, index, code);
  } else if (bits == 8) {
    run[index] = static_cast<uint8_t>(code);
  } else {
    run[index / 2] |= static_cast<uint8_t>(code << (index % 2 * 4));
  }
}

uint16_t code_at(const uint8_t* run, int64_t index, int bits) {
  if (bits == 16) return load<uint16_t>(run, index);
  if (bits == 8) return run[index];
  return static_cast<uint16_t>(run[index / 2] >> (index % 2 * 4) & 15);
}

void DenseCodes::read(const uint8_t* codes, int64_t cols, int64_t row, uint16_t* out) const {
  if (runs_on_) {  // the even one in the high nibble
    for (int64_t k = 0; k < cols; ++k) {
      const int64_t i = row * cols + k;
      out[k] = static_cast<uint16_t>(i % 2 ? codes[i / 2] & 15 : codes[i / 2] >> 4);
    }
    return;
  }
  const uint8_t* line = codes + row * bytes_of_codes(cols, bits_);
  for (int64_t k = 0; k < cols; ++k) out[k] = code_at(line, k, bits_);
}

void DenseCodes::write(const uint16_t* in, int64_t rows, int64_t cols, int64_t row,
                       uint8_t* codes) const {
  if (runs_on_) {
    for (int64_t k = 0; k < cols; ++k) {
      const int64_t i = row * cols + k;
      codes[i / 2] |= static_cast<uint8_t>(in[k] << (i % 2 ? 0 : 4));
    }
    // As the format's own encoder fills the last byte.
    if (row + 1 == rows && rows * cols % 2 != 0) codes[rows * cols / 2] |= uint8_t(zero_);
    return;
  }
  uint8_t* line = codes + row * bytes_of_codes(cols, bits_);
  for (int64_t k = 0; k < cols; ++k) put_code(line, k, bits_, in[k]);
  if (bits_ == 4 && cols % 2 != 0) put_code(line, cols, bits_, 8);
}

void DenseCodes::zeros(std::span<const Bytes> others, int64_t cols, int64_t row,
                       uint16_t* out) const {
  if (group_ == 0) {
    std::fill_n(out, cols, zero_);
    return;
  }
  const int64_t groups = ceil_div(cols, group_);
  const uint8_t* points = others[1].data() + row * groups;
  for (int64_t g = 0; g < groups; ++g) {
    std::fill_n(out + g * group_, std::min(group_, cols - g * group_), uint16_t{points[g]});
  }
}

}  // namespace lathe::formats
