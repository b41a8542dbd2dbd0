// sparse24:FORMAT  two of four neighbours in a row: `weight.indices` U8 [N, ⌈K/8⌉], a nibble for
//                  each four, the lower index in its low bits; `weight.values` U8, two codes each
// sparse48:FORMAT  four of eight: `weight.mask` U8 [N, ⌈K/8⌉] with four bits set in each byte
//                  (3-bit indices would need 12), `weight.values` U8, four codes each
//
// They hold the nearest matrix that fits: the largest weights of each four or eight.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "lathe/formats/kinds.h"
#include "lathe/formats/sparse_format.h"

namespace lathe::formats {
namespace {

class PatternFormat final : public SparseFormat {
 public:
  PatternFormat(int64_t of, DenseCodes codes)
      : SparseFormat(of == 4 ? Kind::kSparse24 : Kind::kSparse48, of == 4 ? "sparse24" : "sparse48",
                     std::move(codes)),
        of_(of),
        keep_(of / 2) {}

  std::string pattern() const override { return fmt::format("{}:{}", keep_, of_); }

  // What is lost is the smaller half of each four or eight: 8.8 and 9.9 dB of normal weights, with
  // four bits 0.2 less.
  SnrBounds snr() const override { return of_ == 4 ? SnrBounds{8.0, 9.2} : SnrBounds{9.1, 10.3}; }
  bool rows_independent() const override { return dense()->rows_independent(); }

  void encode(const float* weights, int64_t rows, int64_t cols,
              std::span<uint8_t* const> out) const override {
    std::vector<float> largest(weights, weights + rows * cols);
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t k = 0; k < cols; k += of_) {
        keep_largest(weights + r * cols + k, std::min(of_, cols - k),
                     largest.data() + r * cols + k);
      }
    }
    SparseFormat::encode(largest.data(), rows, cols, out);
  }

 private:
  static constexpr size_t kWhich = 0, kValues = 1;

  int64_t runs(int64_t cols) const { return ceil_div(cols, of_); }
  int64_t value_bytes(int64_t cols) const {
    return bytes_of_codes(runs(cols) * keep_, codes_.bits());
  }

  void keep_largest(const float* x, int64_t count, float* out) const {
    for (int64_t i = 0; i < count; ++i) {
      int64_t before = 0;
      for (int64_t j = 0; j < count; ++j) {
        const float a = std::fabs(x[j]), b = std::fabs(x[i]);
        before += a > b || (a == b && j < i) ? 1 : 0;
      }
      if (before >= keep_) out[i] = 0;
    }
  }

  std::vector<PartSpec> own_parts(int64_t rows, int64_t cols) const override {
    return {{of_ == 4 ? "weight.indices" : "weight.mask", DType::kU8, {rows, ceil_div(cols, 8)}},
            {"weight.values", DType::kU8, {rows, value_bytes(cols)}}};
  }

  bool pack(const uint8_t* codes, std::span<const Bytes> others, int64_t rows, int64_t cols,
            std::span<uint8_t* const> out) const override {
    std::memset(out[kWhich], 0, static_cast<size_t>(rows * ceil_div(cols, 8)));
    std::memset(out[kValues], 0, static_cast<size_t>(rows * value_bytes(cols)));
    std::vector<uint16_t> row(static_cast<size_t>(runs(cols) * of_)), zeros(row.size());
    bool fits = true;
    for (int64_t r = 0; r < rows; ++r) {
      codes_.read(codes, cols, r, row.data());
      codes_.zeros(others, cols, r, zeros.data());
      for (int64_t g = 0; g < runs(cols); ++g) {
        // The columns with codes, then the first of those without, until they are enough.
        uint32_t chosen = 0;
        const uint16_t* x = row.data() + g * of_;
        for (int64_t i = 0; i < of_; ++i) {
          if (x[i] != zeros[static_cast<size_t>(g * of_ + i)]) chosen |= 1u << i;
        }
        fits = fits && std::popcount(chosen) <= keep_;
        for (int64_t i = 0; std::popcount(chosen) < keep_; ++i) chosen |= 1u << i;
        put_which(out[kWhich] + r * ceil_div(cols, 8), g, chosen);
        int64_t at = g * keep_;
        for (int64_t i = 0; i < of_ && at < (g + 1) * keep_; ++i) {
          if ((chosen >> i & 1) == 0) continue;
          put_code(out[kValues] + r * value_bytes(cols), at++, codes_.bits(), x[i]);
        }
      }
    }
    return fits;
  }

  void put_which(uint8_t* line, int64_t g, uint32_t chosen) const {
    if (of_ == 8) {
      line[g] = static_cast<uint8_t>(chosen);
      return;
    }
    const int first = std::countr_zero(chosen), second = std::countr_zero(chosen & (chosen - 1));
    put_code(line, g, 4, static_cast<uint16_t>(first | second << 2));
  }

  // The columns of four or eight that have codes, as bits.
  uint32_t which(const uint8_t* line, int64_t g) const {
    if (of_ == 8) return line[g];
    const uint32_t pair = code_at(line, g, 4);
    return 1u << (pair & 3) | 1u << (pair >> 2);
  }

  void place(std::span<const Bytes> parts, int64_t cols, int64_t r, uint16_t* row) const override {
    const uint8_t* line = parts[kWhich].data() + r * ceil_div(cols, 8);
    const uint8_t* values = parts[kValues].data() + r * value_bytes(cols);
    for (int64_t g = 0; g < runs(cols); ++g) {
      int64_t at = g * keep_;
      for (uint32_t bits = which(line, g); bits != 0; bits &= bits - 1, ++at) {
        const int64_t k = g * of_ + std::countr_zero(bits);
        if (k < cols) row[k] = code_at(values, at, codes_.bits());
      }
    }
  }

  Status validate_own(std::span<const Bytes> parts, int64_t rows, int64_t cols) const override {
    for (int64_t r = 0; r < rows; ++r) {
      const uint8_t* line = parts[kWhich].data() + r * ceil_div(cols, 8);
      for (int64_t g = 0; g < runs(cols); ++g) {
        if (of_ == 8 && std::popcount(line[g]) != 4) {
          return bad_input("part 'weight.mask' marks {} of the eight columns {} of row {}, not 4",
                           std::popcount(line[g]), 8 * g, r);
        }
        if (of_ == 4 && (code_at(line, g, 4) & 3) >= code_at(line, g, 4) >> 2) {
          return bad_input("part 'weight.indices': the two of the columns {} of row {} do not rise",
                           4 * g, r);
        }
      }
    }
    return {};
  }

  int64_t of_, keep_;
};

template <int64_t kOf>
Result<FormatPtr> parse_pattern(std::string_view options) {
  LATHE_TRY(DenseCodes codes, parse_dense(options));
  return FormatPtr(std::make_shared<PatternFormat>(kOf, std::move(codes)));
}

}  // namespace

FormatKind sparse24_kind() {
  return {"sparse24",
          "sparse24:FORMAT",
          "two of four neighbours in a row, in another format, and their indices",
          {"sparse24:int8:row", "sparse24:int4:g128"},
          parse_pattern<4>};
}
FormatKind sparse48_kind() {
  return {"sparse48",
          "sparse48:FORMAT",
          "four of eight neighbours in a row, in another format, and a bit per weight",
          {"sparse48:bf16", "sparse48:int4:g64,asym"},
          parse_pattern<8>};
}

}  // namespace lathe::formats
