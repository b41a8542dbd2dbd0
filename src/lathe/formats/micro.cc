// Block-scaled 4-bit floats: elements E2M1 (0, ½, 1, 1½, 2, 3, 4, 6 and their negatives; the top
// bit of a code is the sign), two to a byte, `weight.packed` U8 [N, ⌈K/2⌉]: the low nibble is the
// even column. Blocks begin anew with every row; the last may be shorter.
//
// mxfp4   blocks of 32, `weight.scale` U8 [N, ⌈K/32⌉] = e (E8M0): w = element · 2^(e − 127). The
//         exponent is that of the block's largest magnitude, less 2; what lies above 6 becomes 6.
//         OCP Microscaling Formats (MX) specification 1.0, sections 5.3.3 and 6.3.
// nvfp4   blocks of 16, `weight.scale` U8 [N, ⌈K/16⌉] (E4M3) and `weight.global_scale` F32 [1]:
//         w = element · scale · global. global = max |w| of the matrix / (6 · 448), scale =
//         max |w| of the block / (6 · global), rounded to the nearest. NVIDIA, "Pretraining Large
//         Language Models with NVFP4" (2025), appendix on quantization.
//
// Elements and scales are rounded to the nearest, ties to the even code.
#include <algorithm>
#include <array>

#include "lathe/formats/detail.h"
#include "lathe/formats/kinds.h"
#include "lathe/formats/layouts.h"

namespace lathe {

const std::array<float, 16>& e2m1_values() {
  static const std::array<float, 16> values = {0,     0.5f,  1,     1.5f,  2,  3,  4,  6,
                                               -0.0f, -0.5f, -1.0f, -1.5f, -2, -3, -4, -6};
  return values;
}

float e4m3_value(uint8_t code) {
  const int exponent = code >> 3 & 15, mantissa = code & 7;
  const float size = exponent == 0 ? std::ldexp(static_cast<float>(mantissa), -9)
                                   : std::ldexp(static_cast<float>(8 + mantissa), exponent - 10);
  return (code & 0x80) != 0 ? -size : size;
}

}  // namespace lathe

namespace lathe::formats {
namespace {

constexpr float kMostElement = 6, kMostE4m3 = 448;
constexpr uint8_t kLargestExponent = 252;  // 6 · 2^125 is finite, 6 · 2^126 is not

// Of non-negative values in ascending order, the index of the nearest; ties to the even index.
template <typename Values>
uint8_t nearest(float x, const Values& values) {
  const auto above = std::lower_bound(values.begin(), values.end(), x);
  if (above == values.end()) return static_cast<uint8_t>(values.size() - 1);
  const auto i = static_cast<uint8_t>(above - values.begin());
  if (i == 0) return 0;
  const double up = static_cast<double>(*above) - x, down = x - static_cast<double>(*(above - 1));
  if (up != down) return up < down ? i : static_cast<uint8_t>(i - 1);
  return i % 2 == 0 ? i : static_cast<uint8_t>(i - 1);
}

const std::array<float, 127>& e4m3_values() {
  static const std::array<float, 127> values = [] {
    std::array<float, 127> all{};
    for (size_t i = 0; i < all.size(); ++i) all[i] = e4m3_value(static_cast<uint8_t>(i));
    return all;
  }();
  return values;
}

// nearest() over E2M1 and the sign, without branches: how many midpoints lie below.
uint8_t e2m1_code(float x) {
  const float a = std::fabs(x);
  const int size = (a > 0.25f) + (a >= 0.75f) + (a > 1.25f) + (a >= 1.75f) + (a > 2.5f) +
                   (a >= 3.5f) + (a > 5.0f);
  return static_cast<uint8_t>(size | (x < 0 && size > 0 ? 8 : 0));
}

class MicroFormat final : public Format {
 public:
  explicit MicroFormat(bool nv) : nv_(nv) {}

  std::string spec() const override { return nv_ ? "nvfp4" : "mxfp4"; }
  uint32_t id() const override { return make_id(nv_ ? Kind::kNvfp4 : Kind::kMxfp4, 0); }
  Encoding encoding() const override { return Encoding::kMicro; }
  bool exact_zero() const override { return true; }
  SnrBounds snr() const override { return nv_ ? SnrBounds{19.0, 22.0} : SnrBounds{16.5, 20.0}; }
  bool rows_independent() const override { return !nv_; }  // one scale for the whole matrix

  Status supports(int64_t rows, int64_t cols) const override { return check_shape(rows, cols); }
  std::vector<PartSpec> parts(int64_t rows, int64_t cols) const override {
    std::vector<PartSpec> out = {{"weight.packed", DType::kU8, {rows, ceil_div(cols, 2)}},
                                 {"weight.scale", DType::kU8, {rows, ceil_div(cols, block())}}};
    if (nv_) out.push_back({"weight.global_scale", DType::kF32, {1}});
    return out;
  }

  void encode(const float* weights, int64_t rows, int64_t cols,
              std::span<uint8_t* const> out) const override {
    const float global = nv_ ? absmax(weights, rows * cols) / (kMostElement * kMostE4m3) : 1.0f;
    if (nv_) store(out[2], 0, global);
    const int64_t blocks = ceil_div(cols, block());
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t b = 0; b < blocks; ++b) {
        const int64_t begin = b * block(), count = std::min(block(), cols - begin);
        const float* x = weights + r * cols + begin;
        const float scale = encode_scale(absmax(x, count), global, out[1] + r * blocks + b);
        encode_block(x, count, scale, out[0] + r * ceil_div(cols, 2) + begin / 2);
      }
    }
  }

  void decode_rows(std::span<const Bytes> parts, int64_t rows, int64_t cols, int64_t begin,
                   int64_t end, float* out) const override {
    const int64_t blocks = ceil_div(cols, block()), stride = ceil_div(cols, 2);
    const std::array<float, 16>& values = e2m1_values();
    std::vector<float> scales(static_cast<size_t>(blocks));
    for (int64_t r = begin; r < end; ++r, out += cols) {
      const uint8_t* row = parts[0].data() + r * stride;
      micro_scales(*this, parts, rows, cols, r, scales.data());
      for (int64_t k = 0; k < cols; ++k) {
        const int code = k % 2 == 0 ? row[k / 2] & 15 : row[k / 2] >> 4;
        // + 0: the code of −0 is a plain zero.
        out[k] =
            values[static_cast<size_t>(code)] * scales[static_cast<size_t>(k / block())] + 0.0f;
      }
    }
  }

  Status validate(std::span<const Bytes> parts, int64_t rows, int64_t cols) const override {
    LATHE_OK(check_part_sizes(*this, parts, rows, cols));
    for (size_t i = 0; i < parts[1].size(); ++i) {
      const uint8_t code = parts[1].data()[i];
      if (nv_ ? code < 0x7f : code <= kLargestExponent) continue;
      return bad_input(
          "element {} of part 'weight.scale' is 0x{:02x}: {}", i, code,
          nv_ ? "a scale is a positive E4M3 number" : "decoded weights would not be finite");
    }
    if (!nv_) return {};
    const auto global = load<float>(parts[2].data());
    if (global >= 0 && std::isfinite(global * kMostElement * kMostE4m3)) return {};
    return bad_input("part 'weight.global_scale' is {}, but must be finite and not negative",
                     global);
  }

  int64_t block() const { return nv_ ? 16 : 32; }

 private:
  // Stores the code of the scale for a block of largest magnitude `most`; returns what it stands
  // for.
  float encode_scale(float most, float global, uint8_t* out) const {
    if (nv_) {
      *out = global == 0.0f ? uint8_t{0} : nearest(most / kMostElement / global, e4m3_values());
      return e4m3_value(*out) * global;
    }
    *out = static_cast<uint8_t>(most == 0.0f ? 0 : std::clamp(std::ilogb(most) - 2 + 127, 0, 252));
    return std::ldexp(1.0f, *out - 127);
  }

  static void encode_block(const float* x, int64_t count, float scale, uint8_t* out) {
    uint8_t codes[32] = {};
    for (int64_t i = 0; i < count && scale != 0.0f; ++i) codes[i] = e2m1_code(x[i] / scale);
    for (int64_t i = 0; i < count; i += 2) {
      out[i / 2] = static_cast<uint8_t>(codes[i] | codes[i + 1] << 4);
    }
  }

  bool nv_;
};

}  // namespace

FormatKind mxfp4_kind() {
  return {"mxfp4",
          "mxfp4",
          "4-bit floats in blocks of 32 with a power of two as scale (OCP MX)",
          {"mxfp4"},
          [](std::string_view options) -> Result<FormatPtr> {
            if (!options.empty()) return bad_input("format mxfp4 has no options");
            return FormatPtr(std::make_shared<MicroFormat>(false));
          }};
}

FormatKind nvfp4_kind() {
  return {"nvfp4",
          "nvfp4",
          "4-bit floats in blocks of 16 with a float of 8 bits as scale (NVIDIA)",
          {"nvfp4"},
          [](std::string_view options) -> Result<FormatPtr> {
            if (!options.empty()) return bad_input("format nvfp4 has no options");
            return FormatPtr(std::make_shared<MicroFormat>(true));
          }};
}

}  // namespace lathe::formats

namespace lathe {

int64_t micro_block(const Format& format) {
  LATHE_CHECK(format.encoding() == Encoding::kMicro);
  return static_cast<const formats::MicroFormat&>(format).block();
}

void micro_scales(const Format& format, std::span<const Bytes> parts, int64_t /*rows*/,
                  int64_t cols, int64_t row, float* out) {
  const int64_t blocks = formats::ceil_div(cols, micro_block(format));
  const uint8_t* codes = parts[1].data() + row * blocks;
  const bool nv = parts.size() == 3;
  const float global = nv ? formats::load<float>(parts[2].data()) : 0.0f;
  for (int64_t b = 0; b < blocks; ++b) {
    out[b] = nv ? e4m3_value(codes[b]) * global : std::ldexp(1.0f, codes[b] - 127);
  }
}

}  // namespace lathe
