// int8:row,outliers: int8:row beside some columns in bf16.
//
// Parts: `weight` I8 [N, K] (0 in the outlier columns) and `weight.scb` F32 [N] as int8:row has
// them; `weight.outliers` U8, of a size that varies: i32 n, i32 columns [n] (ascending), bf16
// [N][n], little-endian. Which columns these are is decided by what meets them (the pass llm_int8);
// rounding by itself knows no inputs, and gives none.
#include "lathe/formats/outliers.h"

#include <algorithm>

#include "lathe/formats/int8.h"

namespace lathe {
namespace formats {
namespace {

constexpr const char* kPart = "weight.outliers";

int64_t outlier_bytes(int64_t rows, int64_t columns) { return 4 + columns * (4 + 2 * rows); }

class Int8OutlierFormat final : public Format {
 public:
  std::string spec() const override { return "int8:row,outliers"; }
  uint32_t id() const override { return make_id(Kind::kInt8Outliers, 0); }
  Encoding encoding() const override { return Encoding::kInt8Outliers; }
  bool exact_zero() const override { return true; }
  SnrBounds snr() const override { return {38.5, 44.0}; }  // int8:row's: without outliers

  Status supports(int64_t rows, int64_t cols) const override { return check_shape(rows, cols); }
  std::vector<PartSpec> parts(int64_t rows, int64_t cols) const override {
    return {{"weight", DType::kI8, {rows, cols}},
            {"weight.scb", DType::kF32, {rows}},
            // One column in 250 is more than the paper met (0.1 % of the features).
            {kPart,
             DType::kU8,
             {outlier_bytes(rows, cols)},
             true,
             outlier_bytes(rows, ceil_div(cols, 250))}};
  }

  void encode(const float* weights, int64_t rows, int64_t cols,
              std::span<uint8_t* const> out) const override {
    std::fill_n(out[2], outlier_bytes(rows, cols), uint8_t{0});
    encode_with({}, weights, rows, cols, out);
  }
  // `out` has room for that many outliers.
  static void encode_with(std::span<const int32_t> columns, const float* weights, int64_t rows,
                          int64_t cols, std::span<uint8_t* const> out) {
    const auto n = static_cast<int64_t>(columns.size());
    store(out[2], 0, static_cast<int32_t>(n));
    std::copy_n(reinterpret_cast<const uint8_t*>(columns.data()), 4 * n, out[2] + 4);
    uint8_t* kept = out[2] + 4 + 4 * n;
    std::vector<float> row(static_cast<size_t>(cols));
    for (int64_t r = 0; r < rows; ++r) {
      std::copy_n(weights + r * cols, cols, row.begin());
      for (int64_t i = 0; i < n; ++i) {
        float& x = row[static_cast<size_t>(columns[static_cast<size_t>(i)])];
        store(kept, r * n + i, f32_to_bf16(x));
        x = 0;
      }
      const float most = absmax(row.data(), cols);
      encode_int8_run(row.data(), cols, most, reinterpret_cast<int8_t*>(out[0]) + r * cols);
      store(out[1], r, most);
    }
  }
  void trim(std::vector<Bytes>& parts, int64_t rows, int64_t /*cols*/) const override {
    const int64_t n = load<int32_t>(parts[2].data());
    parts[2] =
        Bytes::copy_of(parts[2].slice(0, static_cast<size_t>(outlier_bytes(rows, n))).span());
  }
  bool rows_independent() const override { return false; }

  void decode_rows(std::span<const Bytes> parts, int64_t /*rows*/, int64_t cols, int64_t begin,
                   int64_t end, float* out) const override {
    const int64_t n = load<int32_t>(parts[2].data());
    const uint8_t* columns = parts[2].data() + 4;
    const uint8_t* kept = columns + 4 * n;
    for (int64_t r = begin; r < end; ++r, out += cols) {
      const int8_t* codes = parts[0].as<int8_t>() + r * cols;
      const float scale = load<float>(parts[1].data(), r) / 127.0f;
      for (int64_t k = 0; k < cols; ++k) out[k] = static_cast<float>(codes[k]) * scale;
      for (int64_t i = 0; i < n; ++i) {
        out[load<int32_t>(columns, i)] = bf16_to_f32(load<uint16_t>(kept, r * n + i));
      }
    }
  }

  Status validate(std::span<const Bytes> parts, int64_t rows, int64_t cols) const override {
    const auto specs = this->parts(rows, cols);
    if (parts.size() != specs.size()) {
      return bad_input("format {} has {} parts, not {}", spec(), specs.size(), parts.size());
    }
    for (size_t p = 0; p < 2; ++p) {
      if (static_cast<int64_t>(parts[p].size()) == specs[p].bytes()) continue;
      return bad_input("part '{}' has {} bytes; a {} × {} matrix in {} has {}", specs[p].name,
                       parts[p].size(), rows, cols, spec(), specs[p].bytes());
    }
    LATHE_OK(check_int8_scales(parts[1], "weight.scb", 127.0f));
    return check_outliers(parts[2], rows, cols);
  }

 private:
  static Status check_outliers(const Bytes& part, int64_t rows, int64_t cols) {
    const auto size = static_cast<int64_t>(part.size());
    const int64_t n = size >= 4 ? load<int32_t>(part.data()) : -1;
    if (n < 0 || n > cols || size != outlier_bytes(rows, n)) {
      return bad_input("part '{}' has {} bytes, which is not what its number of columns needs",
                       kPart, size);
    }
    for (int64_t i = 0, before = -1; i < n; ++i) {
      const int64_t column = load<int32_t>(part.data() + 4, i);
      if (column <= before || column >= cols) {
        return bad_input("part '{}': column {} of {} after {}", kPart, column, cols, before);
      }
      before = column;
    }
    const auto begin = static_cast<size_t>(4 + 4 * n);
    return check_finite(DType::kBF16, part.slice(begin, part.size() - begin), kPart);
  }
};

}  // namespace

FormatPtr int8_outliers() { return std::make_shared<Int8OutlierFormat>(); }

}  // namespace formats

Result<WeightMatrix> encode_outliers(const FormatPtr& format, const float* weights, int64_t rows,
                                     int64_t cols, std::span<const int32_t> columns,
                                     std::string_view where) {
  LATHE_CHECK(format->encoding() == Encoding::kInt8Outliers);
  LATHE_OK_IN(format->supports(rows, cols), where);
  LATHE_OK(formats::check_finite_weights(weights, rows, cols, where));
  const auto n = static_cast<int64_t>(columns.size());
  std::vector<Bytes> parts;
  std::vector<uint8_t*> buffers;
  for (const int64_t bytes : {rows * cols, 4 * rows, formats::outlier_bytes(rows, n)}) {
    buffers.push_back(nullptr);
    parts.push_back(Bytes::allocate(static_cast<size_t>(bytes), &buffers.back()));
  }
  formats::Int8OutlierFormat::encode_with(columns, weights, rows, cols, buffers);
  return WeightMatrix::create(format, rows, cols, std::move(parts), where);
}

std::vector<int32_t> outlier_columns(const WeightMatrix& matrix) {
  LATHE_CHECK(matrix.format().encoding() == Encoding::kInt8Outliers);
  const uint8_t* part = matrix.parts()[2].data();
  std::vector<int32_t> out(static_cast<size_t>(formats::load<int32_t>(part)));
  for (size_t i = 0; i < out.size(); ++i) {
    out[i] = formats::load<int32_t>(part + 4, static_cast<int64_t>(i));
  }
  return out;
}

}  // namespace lathe
