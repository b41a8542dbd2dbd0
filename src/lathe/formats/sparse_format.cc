#include "lathe/formats/sparse_format.h"

#include <algorithm>

#include "lathe/formats/layouts.h"
#include "lathe/formats/sparse.h"

namespace lathe::formats {

Status SparseFormat::supports(int64_t rows, int64_t cols) const {
  const Status fits = dense()->supports(rows, cols);
  if (fits.ok()) return {};
  return bad_input("format {}: {}", spec(), fits.error().message);
}

std::vector<PartSpec> SparseFormat::parts(int64_t rows, int64_t cols) const {
  std::vector<PartSpec> out = own_parts(rows, cols);
  const std::vector<PartSpec> of_dense = dense()->parts(rows, cols);
  out.insert(out.end(), of_dense.begin() + 1, of_dense.end());
  return out;
}

std::span<const Bytes> SparseFormat::others_of(std::span<const Bytes> parts, int64_t rows,
                                               int64_t cols) const {
  return parts.subspan(own_parts(rows, cols).size());
}

Bytes SparseFormat::zeroed_codes(int64_t rows, int64_t cols, uint8_t** data) const {
  return Bytes::allocate(static_cast<size_t>(dense()->parts(rows, cols)[0].bytes()), data);
}

void SparseFormat::unpack(std::span<const Bytes> parts, int64_t rows, int64_t cols, int64_t r,
                          uint16_t* row) const {
  codes_.zeros(others_of(parts, rows, cols), cols, r, row);
  place(parts, cols, r, row);
}

void SparseFormat::encode(const float* weights, int64_t rows, int64_t cols,
                          std::span<uint8_t* const> out) const {
  const std::vector<PartSpec> specs = dense()->parts(rows, cols);
  const size_t own = own_parts(rows, cols).size();
  std::vector<uint8_t*> buffers(specs.size());
  const Bytes codes = zeroed_codes(rows, cols, buffers.data());
  std::copy_n(out.data() + own, specs.size() - 1, buffers.data() + 1);
  dense()->encode(weights, rows, cols, buffers);
  std::vector<Bytes> others;
  for (size_t p = 1; p < specs.size(); ++p) {
    others.emplace_back(buffers[p], static_cast<size_t>(specs[p].bytes()), nullptr);
  }
  pack(codes.data(), others, rows, cols, out.first(own));
}

void SparseFormat::decode_rows(std::span<const Bytes> parts, int64_t rows, int64_t cols,
                               int64_t begin, int64_t end, float* out) const {
  if (codes_.rows_run_on()) return decode_codebook(parts, rows, cols, begin, end, out);
  const int64_t count = end - begin;
  uint8_t* data = nullptr;
  std::vector<Bytes> few = {zeroed_codes(count, cols, &data)};
  for (const Bytes& part : others_of(parts, rows, cols)) {
    const size_t row_bytes = part.size() / static_cast<size_t>(rows);
    few.push_back(
        part.slice(static_cast<size_t>(begin) * row_bytes, static_cast<size_t>(count) * row_bytes));
  }
  std::vector<uint16_t> row(static_cast<size_t>(cols));
  for (int64_t r = begin; r < end; ++r) {
    unpack(parts, rows, cols, r, row.data());
    codes_.write(row.data(), count, cols, r - begin, data);
  }
  dense()->decode_rows(few, count, cols, 0, count, out);
}

// Blocks of a code book cross rows: a slice of it would not be one.
void SparseFormat::decode_codebook(std::span<const Bytes> parts, int64_t rows, int64_t cols,
                                   int64_t begin, int64_t end, float* out) const {
  std::vector<Bytes> of_dense(1);
  const auto others = others_of(parts, rows, cols);
  of_dense.insert(of_dense.end(), others.begin(), others.end());
  const Codebook4View view = codebook4_view(*dense(), of_dense, rows, cols);
  const int64_t block = codebook4_layout(*dense()).block;
  std::vector<uint16_t> row(static_cast<size_t>(cols));
  for (int64_t r = begin; r < end; ++r) {
    unpack(parts, rows, cols, r, row.data());
    for (int64_t k = 0; k < cols;) {
      const int64_t b = (r * cols + k) / block;
      float scale = 0;
      view.absmax(b, b + 1, &scale);
      const int64_t last = std::min(cols, (b + 1) * block - r * cols);
      for (; k < last; ++k) *out++ = view.code[row[static_cast<size_t>(k)]] * scale;
    }
  }
}

Status SparseFormat::validate(std::span<const Bytes> parts, int64_t rows, int64_t cols) const {
  const std::vector<PartSpec> specs = this->parts(rows, cols);
  if (parts.size() != specs.size()) {
    return bad_input("format {} has {} parts, not {}", spec(), specs.size(), parts.size());
  }
  for (size_t p = 0; p < own_parts(rows, cols).size(); ++p) {
    const auto size = static_cast<int64_t>(parts[p].size());
    if (specs[p].varies ? size > specs[p].bytes() : size != specs[p].bytes()) {
      return bad_input("part '{}' has {} bytes, but {} × {} weights in {} need {}{}", specs[p].name,
                       size, rows, cols, spec(), specs[p].varies ? "at most " : "",
                       specs[p].bytes());
    }
  }
  LATHE_OK(validate_own(parts, rows, cols));
  if (codes_.bits() == 16) {
    return check_finite(dense()->parts(1, 1)[0].dtype, parts[1], specs[1].name);
  }
  // Whatever the codes are, they decode to finite weights if scales and tables are sound.
  uint8_t* unused = nullptr;
  std::vector<Bytes> of_dense = {zeroed_codes(rows, cols, &unused)};
  const auto others = others_of(parts, rows, cols);
  of_dense.insert(of_dense.end(), others.begin(), others.end());
  return dense()->validate(of_dense, rows, cols);
}

std::vector<Bytes> SparseFormat::to_dense(std::span<const Bytes> parts, int64_t rows,
                                          int64_t cols) const {
  uint8_t* data = nullptr;
  std::vector<Bytes> out = {zeroed_codes(rows, cols, &data)};
  std::vector<uint16_t> row(static_cast<size_t>(cols));
  for (int64_t r = 0; r < rows; ++r) {
    unpack(parts, rows, cols, r, row.data());
    codes_.write(row.data(), rows, cols, r, data);
  }
  const auto others = others_of(parts, rows, cols);
  out.insert(out.end(), others.begin(), others.end());
  return out;
}

bool SparseFormat::from_dense(std::span<const Bytes> of_dense, int64_t rows, int64_t cols,
                              std::vector<Bytes>& parts) const {
  std::vector<uint8_t*> buffers;
  for (const PartSpec& spec : own_parts(rows, cols)) {
    uint8_t* data = nullptr;
    parts.push_back(Bytes::allocate(static_cast<size_t>(spec.bytes()), &data));
    buffers.push_back(data);
  }
  const bool fits = pack(of_dense[0].data(), of_dense.subspan(1), rows, cols, buffers);
  parts.insert(parts.end(), of_dense.begin() + 1, of_dense.end());
  trim(parts, rows, cols);
  return fits;
}

Result<DenseCodes> parse_dense(std::string_view options) {
  if (options.starts_with("sparse")) return bad_input("format {} is sparse already", options);
  LATHE_TRY(FormatPtr dense, parse_format(options));
  return DenseCodes::create(std::move(dense));
}

namespace {

const SparseFormat& as_sparse(const Format& format) {
  LATHE_CHECK(format.encoding() == Encoding::kSparse);
  return static_cast<const SparseFormat&>(format);
}

}  // namespace
}  // namespace lathe::formats

namespace lathe {

FormatPtr dense_format(const FormatPtr& format) {
  if (format->encoding() != Encoding::kSparse) return format;
  return formats::as_sparse(*format).dense();
}

std::string fixed_pattern(const Format& format) {
  if (format.encoding() != Encoding::kSparse) return {};
  return formats::as_sparse(format).pattern();
}

WeightMatrix to_dense(const WeightMatrix& matrix) {
  if (matrix.format().encoding() != Encoding::kSparse) return matrix;
  const auto& sparse = formats::as_sparse(matrix.format());
  return WeightMatrix::create(sparse.dense(), matrix.rows(), matrix.cols(),
                              sparse.to_dense(matrix.parts(), matrix.rows(), matrix.cols()),
                              "a sparse matrix")
      .value();
}

Result<WeightMatrix> to_sparse(const FormatPtr& format, const WeightMatrix& dense,
                               std::string_view where) {
  const auto& sparse = formats::as_sparse(*format);
  LATHE_CHECK(sparse.dense()->spec() == dense.format().spec());
  std::vector<Bytes> parts;
  if (!sparse.from_dense(dense.parts(), dense.rows(), dense.cols(), parts)) {
    return bad_input("{}: has more weights that are not 0 than format {} has room for", where,
                     format->spec())
        .with_hint("prune it first, to the pattern 2:4 or 4:8 of the format");
  }
  return WeightMatrix::create(format, dense.rows(), dense.cols(), std::move(parts), where);
}

}  // namespace lathe
