#include "lathe/formats/weight_matrix.h"

#include "lathe/base/threads.h"
#include "lathe/formats/detail.h"

namespace lathe {

Result<WeightMatrix> WeightMatrix::create(FormatPtr format, int64_t rows, int64_t cols,
                                          std::vector<Bytes> parts, std::string_view where) {
  LATHE_OK_IN(format->supports(rows, cols), where);
  LATHE_OK_IN(format->validate(parts, rows, cols), where);
  WeightMatrix matrix;
  matrix.format_ = std::move(format);
  matrix.rows_ = rows;
  matrix.cols_ = cols;
  matrix.parts_ = std::move(parts);
  return matrix;
}

Result<WeightMatrix> WeightMatrix::encode(FormatPtr format, const float* weights, int64_t rows,
                                          int64_t cols, std::string_view where, ThreadPool* pool) {
  LATHE_OK_IN(format->supports(rows, cols), where);
  if (!format->can_encode()) {
    return unsupported("{}: format {} can be read but not written", where, format->spec());
  }
  LATHE_OK(formats::check_finite_weights(weights, rows, cols, where));
  WeightMatrix matrix;
  std::vector<uint8_t*> buffers;
  for (const PartSpec& part : format->parts(rows, cols)) {
    uint8_t* data = nullptr;
    matrix.parts_.push_back(Bytes::allocate(static_cast<size_t>(part.bytes()), &data));
    buffers.push_back(data);
  }
  const auto encode_rows = [&](int64_t begin, int64_t end) {
    std::vector<uint8_t*> out;
    for (size_t p = 0; p < buffers.size(); ++p) {
      const int64_t row_bytes = static_cast<int64_t>(matrix.parts_[p].size()) / rows;
      out.push_back(begin ? buffers[p] + begin * row_bytes : buffers[p]);
    }
    format->encode(weights + begin * cols, end - begin, cols, out);
  };
  if (pool && format->rows_independent()) {
    pool->parallel_for(rows, 1, encode_rows);
  } else {
    encode_rows(0, rows);
  }
  format->trim(matrix.parts_, rows, cols);
  // Finite weights can still lie outside what the format can hold (70000 in f16).
  if (const Status valid = format->validate(matrix.parts_, rows, cols); !valid.ok()) {
    return bad_input("{}: the weights do not fit format {}: {}", where, format->spec(),
                     valid.error().message)
        .with_hint("use a format with a wider range, such as bf16");
  }
  matrix.format_ = std::move(format);
  matrix.rows_ = rows;
  matrix.cols_ = cols;
  return matrix;
}

WeightMatrix WeightMatrix::of_floats(const float* weights, int64_t rows, int64_t cols) {
  WeightMatrix matrix;
  matrix.format_ = parse_format("f32").value();
  matrix.rows_ = rows;
  matrix.cols_ = cols;
  matrix.parts_.push_back(Bytes::copy_of(
      {reinterpret_cast<const uint8_t*>(weights), static_cast<size_t>(rows * cols) * 4}));
  return matrix;
}

int64_t WeightMatrix::bytes() const {
  int64_t total = 0;
  for (const Bytes& part : parts_) total += static_cast<int64_t>(part.size());
  return total;
}

void WeightMatrix::decode_rows(int64_t begin, int64_t end, float* out) const {
  LATHE_CHECK(0 <= begin && begin <= end && end <= rows_);
  format_->decode_rows(parts_, rows_, cols_, begin, end, out);
}

std::vector<float> WeightMatrix::decode(ThreadPool& pool) const {
  std::vector<float> out(static_cast<size_t>(rows_ * cols_));
  pool.parallel_for(rows_, 1, [&](int64_t begin, int64_t end) {
    decode_rows(begin, end, out.data() + begin * cols_);
  });
  return out;
}

std::vector<float> WeightMatrix::decode() const {
  std::vector<float> out(static_cast<size_t>(rows_ * cols_));
  decode_rows(0, rows_, out.data());
  return out;
}

}  // namespace lathe
