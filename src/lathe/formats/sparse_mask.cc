// sparse:FORMAT    bitmask and codes, any pattern of zeros. Parts:
//   `weight.mask`     U8 [N, ⌈K/8⌉]: bit k % 8 of byte k / 8 says that column k has a code
//   `weight.values`   U8: those codes row after row, 4, 8 or 16 bits each, the low nibble first;
//                     every strip of 16 rows starts at a byte
//   `weight.offsets`  I64 [⌈N/16⌉ + 1]: where the strips start in the values, and where they end
#include <algorithm>
#include <cstring>

#include "lathe/formats/kinds.h"
#include "lathe/formats/sparse_format.h"

namespace lathe::formats {
namespace {

constexpr int64_t kStrip = 16;  // rows

class MaskFormat final : public SparseFormat {
 public:
  explicit MaskFormat(DenseCodes codes) : SparseFormat(Kind::kSparse, "sparse", std::move(codes)) {}

  SnrBounds snr() const override { return dense()->snr(); }
  bool rows_independent() const override { return false; }

  void trim(std::vector<Bytes>& parts, int64_t rows, int64_t /*cols*/) const override {
    const auto size = static_cast<size_t>(load<int64_t>(parts[kOffsets].data(), strips(rows)));
    parts[kValues] = Bytes::copy_of(parts[kValues].span().first(size));
  }

 private:
  static constexpr size_t kMask = 0, kValues = 1, kOffsets = 2;

  static int64_t strips(int64_t rows) { return ceil_div(rows, kStrip); }

  std::vector<PartSpec> own_parts(int64_t rows, int64_t cols) const override {
    int64_t most = bytes_of_codes(kStrip * cols, codes_.bits()) * (rows / kStrip);
    most += bytes_of_codes(rows % kStrip * cols, codes_.bits());
    return {{"weight.mask", DType::kU8, {rows, ceil_div(cols, 8)}},
            {"weight.values", DType::kU8, {most}, true},
            {"weight.offsets", DType::kI64, {strips(rows) + 1}}};
  }

  static int64_t count(const uint8_t* mask, int64_t bytes) {
    int64_t bits = 0, i = 0;
    for (; i + 8 <= bytes; i += 8) bits += std::popcount(load<uint64_t>(mask + i));
    for (; i < bytes; ++i) bits += std::popcount(mask[i]);
    return bits;
  }

  bool pack(const uint8_t* codes, std::span<const Bytes> others, int64_t rows, int64_t cols,
            std::span<uint8_t* const> out) const override {
    const std::vector<PartSpec> specs = own_parts(rows, cols);
    for (size_t p = 0; p < specs.size(); ++p) {
      std::memset(out[p], 0, static_cast<size_t>(specs[p].bytes()));
    }
    std::vector<uint16_t> row(static_cast<size_t>(cols)), zeros(row.size());
    int64_t offset = 0, written = 0;
    for (int64_t r = 0; r < rows; ++r) {
      if (r % kStrip == 0) {
        offset += bytes_of_codes(written, codes_.bits());
        written = 0;
        store(out[kOffsets], r / kStrip, offset);
      }
      codes_.read(codes, cols, r, row.data());
      codes_.zeros(others, cols, r, zeros.data());
      uint8_t* mask = out[kMask] + r * ceil_div(cols, 8);
      for (int64_t k = 0; k < cols; ++k) {
        const uint16_t code = row[static_cast<size_t>(k)];
        if (code == zeros[static_cast<size_t>(k)]) continue;
        mask[k / 8] |= static_cast<uint8_t>(1 << k % 8);
        put_code(out[kValues] + offset, written++, codes_.bits(), code);
      }
    }
    store(out[kOffsets], strips(rows), offset + bytes_of_codes(written, codes_.bits()));
    return true;
  }

  void place(std::span<const Bytes> parts, int64_t cols, int64_t r, uint16_t* row) const override {
    const int64_t row_bytes = ceil_div(cols, 8);
    const uint8_t* strip = parts[kMask].data() + r / kStrip * kStrip * row_bytes;
    const uint8_t* mask = strip + r % kStrip * row_bytes;
    int64_t at = count(strip, r % kStrip * row_bytes);
    const uint8_t* values =
        parts[kValues].data() + load<int64_t>(parts[kOffsets].data(), r / kStrip);
    for (int64_t i = 0; i < row_bytes; ++i) {
      for (uint32_t bits = mask[i]; bits != 0; bits &= bits - 1) {
        row[8 * i + std::countr_zero(bits)] = code_at(values, at++, codes_.bits());
      }
    }
  }

  Status validate_own(std::span<const Bytes> parts, int64_t rows, int64_t cols) const override {
    const int64_t row_bytes = ceil_div(cols, 8);
    const uint8_t* mask = parts[kMask].data();
    for (int64_t r = 0; cols % 8 != 0 && r < rows; ++r) {
      if (mask[(r + 1) * row_bytes - 1] >> cols % 8 != 0) {
        return bad_input("part 'weight.mask' marks columns of row {} behind the last one", r);
      }
    }
    int64_t offset = 0;
    for (int64_t s = 0; s <= strips(rows); ++s) {
      const auto stored = load<int64_t>(parts[kOffsets].data(), s);
      if (stored != offset) {
        return bad_input("element {} of part 'weight.offsets' is {}, but by part 'weight.mask' {}",
                         s, stored, offset);
      }
      if (s == strips(rows)) break;
      const int64_t height = std::min(kStrip, rows - s * kStrip);
      offset +=
          bytes_of_codes(count(mask + s * kStrip * row_bytes, height * row_bytes), codes_.bits());
    }
    if (static_cast<int64_t>(parts[kValues].size()) != offset) {
      return bad_input("part 'weight.values' has {} bytes, but part 'weight.mask' asks for {}",
                       parts[kValues].size(), offset);
    }
    return {};
  }
};

Result<FormatPtr> parse_mask(std::string_view options) {
  LATHE_TRY(DenseCodes codes, parse_dense(options));
  return FormatPtr(std::make_shared<MaskFormat>(std::move(codes)));
}

}  // namespace

FormatKind sparse_kind() {
  return {"sparse",
          "sparse:FORMAT",
          "the codes of another format that are not 0, and a bit per weight that says which",
          {"sparse:bf16", "sparse:int8:row", "sparse:int8:g128", "sparse:int4:g64",
           "sparse:int4:g128,asym", "sparse:nf4:b64,dq"},
          parse_mask};
}

}  // namespace lathe::formats
