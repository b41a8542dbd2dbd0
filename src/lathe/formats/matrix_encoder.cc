#include "lathe/formats/matrix_encoder.h"

#include <cstring>

#include "lathe/formats/codebook4.h"
#include "lathe/formats/detail.h"
#include "lathe/formats/layouts.h"

namespace lathe {

Result<MatrixEncoder> MatrixEncoder::create(FormatPtr format, int64_t rows, int64_t cols,
                                            std::string_view where) {
  LATHE_OK_IN(format->supports(rows, cols), where);
  if (!format->can_encode()) {
    return unsupported("{}: format {} can be read but not written", where, format->spec());
  }
  MatrixEncoder out;
  out.rows_ = rows;
  out.cols_ = cols;
  out.by_rows_ = format->rows_independent();
  if (format->encoding() == Encoding::kCodebook4) {
    const Codebook4Layout layout = codebook4_layout(*format);
    out.by_rows_ = cols % layout.block == 0;
    out.nested_ = layout.nested;
    out.block_ = layout.block;
  }
  if (out.by_rows_) {
    for (const PartSpec& part : format->parts(rows, cols)) {
      uint8_t* data = nullptr;
      out.parts_.push_back(Bytes::allocate(static_cast<size_t>(part.bytes()), &data));
      out.buffers_.push_back(data);
    }
    if (out.block_) {
      out.absmax_.resize(static_cast<size_t>(rows * cols / out.block_));
      // Tables and shape, for decode().
      if (!out.nested_) formats::finish_codebook4(*format, out.absmax_, rows, cols, out.buffers_);
    }
  }
  out.format_ = std::move(format);
  return out;
}

bool MatrixEncoder::encode(int64_t begin, int64_t end, const float* weights) {
  LATHE_CHECK(by_rows_ && 0 <= begin && begin <= end && end <= rows_);
  const int64_t count = (end - begin) * cols_;
  if (formats::first_not_finite(DType::kF32, reinterpret_cast<const uint8_t*>(weights), count) >=
      0) {
    return false;
  }
  if (block_) {
    const int64_t first = begin * cols_ / block_;
    float* absmax = absmax_.data() + first;
    formats::encode_codebook4_blocks(*format_, weights, count, buffers_[0] + begin * cols_ / 2,
                                     absmax);
    if (!nested_) {
      std::memcpy(buffers_[1] + first * 4, absmax, static_cast<size_t>(count / block_) * 4);
    }
    return true;
  }
  std::vector<uint8_t*> out;
  for (size_t p = 0; p < buffers_.size(); ++p) {
    out.push_back(buffers_[p] + begin * (static_cast<int64_t>(parts_[p].size()) / rows_));
  }
  format_->encode(weights, end - begin, cols_, out);
  return true;
}

void MatrixEncoder::decode(int64_t begin, int64_t end, float* out) const {
  LATHE_CHECK(decodes());
  format_->decode_rows(parts_, rows_, cols_, begin, end, out);
}

Result<WeightMatrix> MatrixEncoder::finish(std::string_view where) {
  if (nested_) formats::finish_codebook4(*format_, absmax_, rows_, cols_, buffers_);
  auto encoded = WeightMatrix::create(format_, rows_, cols_, std::move(parts_), where);
  if (encoded.ok()) return encoded;
  return bad_input("{}: the weights do not fit format {}: {}", where, format_->spec(),
                   encoded.error().message)
      .with_hint("use a format with a wider range, such as bf16");
}

}  // namespace lathe
