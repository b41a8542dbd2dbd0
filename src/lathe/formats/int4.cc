// int4: 4-bit codes, two to a byte, `weight.packed` U8 [N, ⌈K/2⌉]: the low nibble is the even
// column. Every variant decodes w = scale · (code − zero), so that zero is exact.
//
// int4:row       naive: one scale per row, `weight.scale` F32 [N] = max |w| / 7, codes 1…15,
//                zero = 8. Kept to show what goes wrong without groups.
// int4:gN        `weight.scale` F16 [N, ⌈K/g⌉] = m / −8, where m is the signed weight of largest
//                magnitude, codes 0…15, zero = 8 (the range of ggml's Q4_0). Against max |w| / 7
//                this gains 1.1 dB on normal weights and on the matrices of Tiny-LLM layer 0
//                (21.3 against 20.2 dB at g32; its down_proj at g128: 19.4 against 18.2 dB).
// int4:gN,asym   `weight.scale` F16 and `weight.zero` U8, both [N, ⌈K/g⌉]: the range from
//                min(0, w) to max(0, w) in 15 steps, zero in 0…15.
//
// int4:gN,offset is in bits.cc.
//
// The codes are rounded with the scale as it is stored, to the nearest, ties to even. The last
// group of a row may be shorter; with odd K the last high nibble is 8 and has no meaning.
#include <algorithm>

#include "lathe/formats/bits.h"
#include "lathe/formats/detail.h"
#include "lathe/formats/kinds.h"
#include "lathe/formats/run_loops.h"

namespace lathe::formats {
namespace {

// Codes of a run that starts at an even column. `inverse` is 1/scale, or 0 for a scale of 0 or
// infinity. A tiny f16 scale may have been rounded to two thirds of its value: hence the bounds.
void encode_run(const float* x, int64_t count, float inverse, int zero, int lowest, uint8_t* out) {
  constexpr int64_t kChunk = 256;
  uint8_t codes[kChunk];
  for (int64_t begin = 0; begin < count; begin += kChunk) {
    const int64_t n = std::min(kChunk, count - begin);
    round_codes(x + begin, n, inverse, zero, lowest, 15, codes);
    if (n % 2) codes[n] = 8;
    pack_low_first(codes, n + n % 2, out + begin / 2);
  }
}

float inverse_of(float scale) {
  return scale == 0.0f || !std::isfinite(scale) ? 0.0f : 1.0f / scale;
}

class Int4Format final : public Format {
 public:
  Int4Format(int64_t group, bool asymmetric) : group_(group), asymmetric_(asymmetric) {}

  std::string spec() const override {
    if (!group_) return "int4:row";
    return fmt::format("int4:g{}{}", group_, asymmetric_ ? ",asym" : "");
  }
  uint32_t id() const override {
    return make_id(Kind::kInt4, static_cast<uint32_t>(group_) << 1 | (asymmetric_ ? 1u : 0u));
  }
  Encoding encoding() const override { return Encoding::kInt4; }
  bool exact_zero() const override { return true; }
  // Uniform error in a step of max/8 (or range/15); the longer the group, the larger its maximum.
  // Measured at 64×512: 21.4 (g32), 20.5 (g64), 19.7 (g128), 17.4 dB (row); asym 0.2 to 0.5 more.
  SnrBounds snr() const override {
    if (!group_) return {12.0, 22.0};
    if (group_ <= 32) return {20.5, 24.5};
    if (group_ <= 64) return {19.5, 21.8};
    return {group_ <= 128 ? 18.8 : 15.0, 20.9};
  }

  Status supports(int64_t rows, int64_t cols) const override { return check_shape(rows, cols); }
  std::vector<PartSpec> parts(int64_t rows, int64_t cols) const override {
    const PartSpec packed{"weight.packed", DType::kU8, {rows, ceil_div(cols, 2)}};
    if (!group_) return {packed, {"weight.scale", DType::kF32, {rows}}};
    const int64_t groups = ceil_div(cols, group_);
    if (!asymmetric_) return {packed, {"weight.scale", DType::kF16, {rows, groups}}};
    return {packed,
            {"weight.scale", DType::kF16, {rows, groups}},
            {"weight.zero", DType::kU8, {rows, groups}}};
  }

  void encode(const float* weights, int64_t rows, int64_t cols,
              std::span<uint8_t* const> out) const override {
    const int64_t group = group_ ? group_ : cols;
    const int64_t groups = ceil_div(cols, group);
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t g = 0; g < groups; ++g) {
        const int64_t index = r * groups + g;
        const int64_t count = std::min(group, cols - g * group);
        const float* x = weights + r * cols + g * group;
        uint8_t* codes = out[0] + r * ceil_div(cols, 2) + g * group / 2;
        if (!group_) {
          encode_naive(x, count, index, out, codes);
        } else if (asymmetric_) {
          encode_asymmetric(x, count, index, out, codes);
        } else {
          encode_symmetric(x, count, index, out, codes);
        }
      }
    }
  }

  void decode_rows(std::span<const Bytes> parts, int64_t /*rows*/, int64_t cols, int64_t begin,
                   int64_t end, float* out) const override {
    const int64_t group = group_ ? group_ : cols;
    const int64_t groups = ceil_div(cols, group);
    const int64_t stride = ceil_div(cols, 2);
    for (int64_t r = begin; r < end; ++r) {
      const uint8_t* row = parts[0].data() + r * stride;
      for (int64_t g = 0; g < groups; ++g) {
        const int64_t index = r * groups + g;
        const float scale = group_ ? f16_to_f32(load<uint16_t>(parts[1].data(), index))
                                   : load<float>(parts[1].data(), index);
        const int zero = asymmetric_ ? parts[2].data()[index] : 8;
        const int64_t last = std::min(cols, (g + 1) * group);
        scale_pairs(row + g * group / 2, last - g * group, scale, zero, out + g * group);
      }
      out += cols;
    }
  }

  Status validate(std::span<const Bytes> parts, int64_t rows, int64_t cols) const override {
    LATHE_OK(check_part_sizes(*this, parts, rows, cols));
    LATHE_OK(check_finite(group_ ? DType::kF16 : DType::kF32, parts[1], "weight.scale"));
    for (int64_t i = 0; !group_ && i < rows; ++i) {
      const float scale = load<float>(parts[1].data(), i);
      if (!std::isfinite(scale * 8.0f)) {
        return bad_input("element {} of part 'weight.scale' is {}: decoded weights would overflow",
                         i, scale);
      }
    }
    if (!asymmetric_) return {};
    for (size_t i = 0; i < parts[2].size(); ++i) {
      if (parts[2].data()[i] > 15) {
        return bad_input("element {} of part 'weight.zero' is {}, but a zero point is 0…15", i,
                         parts[2].data()[i]);
      }
    }
    return {};
  }

 private:
  static void encode_naive(const float* x, int64_t count, int64_t index,
                           std::span<uint8_t* const> out, uint8_t* codes) {
    const float scale = absmax(x, count) / 7.0f;
    store(out[1], index, scale);
    // A row below 2^-125 has a subnormal scale whose reciprocal may overflow: it becomes zeros.
    const float inverse = inverse_of(scale);
    encode_run(x, count, std::isfinite(inverse) ? inverse : 0.0f, 8, 1, codes);
  }

  static void encode_symmetric(const float* x, int64_t count, int64_t index,
                               std::span<uint8_t* const> out, uint8_t* codes) {
    const Range range = range_of(x, count);
    const float most = range.high >= -range.low ? range.high : range.low;
    const uint16_t stored = f32_to_f16(most / -8.0f);
    store(out[1], index, stored);
    encode_run(x, count, inverse_of(f16_to_f32(stored)), 8, 0, codes);
  }

  static void encode_asymmetric(const float* x, int64_t count, int64_t index,
                                std::span<uint8_t* const> out, uint8_t* codes) {
    const Range range = range_of(x, count);
    const uint16_t stored = f32_to_f16((range.high - range.low) / 15.0f);
    store(out[1], index, stored);
    const float inverse = inverse_of(f16_to_f32(stored));
    const int zero = std::clamp(round_even(-range.low * inverse), 0, 15);
    out[2][index] = static_cast<uint8_t>(zero);
    encode_run(x, count, inverse, zero, 0, codes);
  }

  int64_t group_;
  bool asymmetric_;
};

Result<FormatPtr> parse_int4(std::string_view options) {
  if (options.empty()) {
    return bad_input("format int4 needs 'row' or a group size such as g128");
  }
  if (options == "row") return FormatPtr(std::make_shared<Int4Format>(0, false));
  if (options.ends_with(",offset") || options.starts_with("offset,")) {
    return parse_bits("int4", 4, options);
  }
  int64_t group = 0;
  bool asymmetric = false;
  for (const std::string_view option : split_options(options)) {
    const auto number = prefixed_number(option, "g");
    if (option == "asym" && !asymmetric) {
      asymmetric = true;
    } else if (number && !group) {
      group = *number;
    } else {
      return bad_input("unknown or repeated option '{}' of format int4", option);
    }
  }
  if (!group) return bad_input("int4 with '{}' needs a group size such as g128", options);
  if (group % 16 != 0 || group > kMostGroup) {
    return bad_input("int4 groups are multiples of 16 up to {}, not {}", kMostGroup, group);
  }
  return FormatPtr(std::make_shared<Int4Format>(group, asymmetric));
}

}  // namespace

FormatKind int4_kind() {
  return {"int4",
          "int4:row | int4:gN[,asym|,offset]",
          "4-bit integers: naive with a scale per row, or in groups of N columns",
          {"int4:row", "int4:g32", "int4:g64", "int4:g128", "int4:g32,asym", "int4:g64,asym",
           "int4:g128,asym", "int4:g64,offset"},
          parse_int4};
}

}  // namespace lathe::formats
