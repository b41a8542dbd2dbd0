// int2 and int3 in groups of N columns, and int4 with an offset: codes of b bits, as a stream that
// begins anew with every row, the lowest bits first: `weight.packed` U8 [N, ⌈K·b/8⌉]. A scale
// `weight.scale` F16 [N, ⌈K/g⌉] and, by kind,
//
// gN             w = scale · (code − 2^(b−1)); scale = m / −2^(b−1), m the signed weight of largest
//                magnitude (as int4:gN)
// gN,asym        `weight.zero` U8 [N, ⌈K/g⌉]: w = scale · (code − zero), the range from min(0, w)
//                to max(0, w) in 2^b − 1 steps
// gN,offset      `weight.offset` F16 [N, ⌈K/g⌉]: w = scale · code + offset, the range from min(w)
//                to max(w) in 2^b − 1 steps; the only kind in which 0 is not exact. A zero point
//                that need not be whole, as HQQ wants it, is offset = −scale · zero.
//
// ternary:gN     w = scale · (code − 2), code 1, 2 or 3: −scale, 0 or scale. Five codes less 1 are
// the
//                digits of a byte in base 3: `weight.packed` U8 [N, ⌈K/5⌉], 1.6 bits a weight. The
//                scale is the one of least squared error.
//
// The codes are rounded with scale and offset as they are stored. The last group of a row may be
// shorter.
#include "lathe/formats/bits.h"

#include <algorithm>
#include <functional>

#include "lathe/formats/detail.h"
#include "lathe/formats/kinds.h"

namespace lathe::formats {
namespace {

constexpr uint32_t kOffsetFlag = 1u << 20;  // of id()
constexpr int kMostTrits = 242;             // 3^5 − 1

struct Range {
  float low, high;
};

Range range_of(const float* x, int64_t count, bool with_zero) {
  Range range{with_zero ? 0 : x[0], with_zero ? 0 : x[0]};
  for (int64_t i = 0; i < count; ++i) {
    range.low = std::min(range.low, x[i]);
    range.high = std::max(range.high, x[i]);
  }
  return range;
}

class BitsFormat final : public Format {
 public:
  explicit BitsFormat(BitsLayout layout) : layout_(layout) {}

  std::string spec() const override {
    if (layout_.ternary) return fmt::format("ternary:g{}", layout_.group);
    constexpr const char* kSuffix[] = {"", ",asym", ",offset"};
    return fmt::format("int{}:g{}{}", layout_.bits, layout_.group,
                       kSuffix[static_cast<int>(layout_.zero)]);
  }
  uint32_t id() const override {
    const Kind kind = layout_.ternary     ? Kind::kTernary
                      : layout_.bits == 2 ? Kind::kInt2
                      : layout_.bits == 3 ? Kind::kInt3
                                          : Kind::kInt4;
    return make_id(kind, static_cast<uint32_t>(layout_.group) << 1 |
                             (layout_.zero == ZeroKind::kPoint ? 1u : 0u) |
                             (layout_.zero == ZeroKind::kOffset ? kOffsetFlag : 0u));
  }
  Encoding encoding() const override { return Encoding::kBits; }
  bool exact_zero() const override { return layout_.zero != ZeroKind::kOffset; }
  // 6 dB less per bit, and less in longer groups. Measured at 64×512: docs/formats.md.
  SnrBounds snr() const override {
    if (layout_.bits == 4) return {17.0, 22.5};
    if (layout_.bits == 3) return {10.5, 16.5};
    if (layout_.ternary) return {6.0, 9.5};
    return {4.0, 10.0};
  }

  Status supports(int64_t rows, int64_t cols) const override { return check_shape(rows, cols); }
  std::vector<PartSpec> parts(int64_t rows, int64_t cols) const override {
    const int64_t groups = ceil_div(cols, layout_.group);
    std::vector<PartSpec> out = {
        {"weight.packed", DType::kU8, {rows, packed_row_bytes(layout_, cols)}},
        {"weight.scale", DType::kF16, {rows, groups}}};
    if (layout_.zero == ZeroKind::kPoint)
      out.push_back({"weight.zero", DType::kU8, {rows, groups}});
    if (layout_.zero == ZeroKind::kOffset) {
      out.push_back({"weight.offset", DType::kF16, {rows, groups}});
    }
    return out;
  }

  void encode(const float* weights, int64_t rows, int64_t cols,
              std::span<uint8_t* const> out) const override {
    const int64_t groups = ceil_div(cols, layout_.group);
    const int64_t stride = packed_row_bytes(layout_, cols);
    std::vector<uint8_t> codes(static_cast<size_t>(cols));
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t g = 0; g < groups; ++g) {
        const int64_t begin = g * layout_.group;
        encode_group(weights + r * cols + begin, std::min(layout_.group, cols - begin),
                     r * groups + g, out, codes.data() + begin);
      }
      pack_row(layout_, codes.data(), cols, out[0] + r * stride);
    }
  }

  void decode_rows(std::span<const Bytes> parts, int64_t /*rows*/, int64_t cols, int64_t begin,
                   int64_t end, float* out) const override {
    const int64_t groups = ceil_div(cols, layout_.group);
    const int64_t stride = packed_row_bytes(layout_, cols);
    std::vector<uint8_t> codes(static_cast<size_t>(cols));
    for (int64_t r = begin; r < end; ++r, out += cols) {
      unpack_row(layout_, parts[0].data() + r * stride, cols, codes.data());
      for (int64_t g = 0; g < groups; ++g) {
        const int64_t index = r * groups + g;
        const float scale = f16_to_f32(load<uint16_t>(parts[1].data(), index));
        const float offset = layout_.zero == ZeroKind::kOffset
                                 ? f16_to_f32(load<uint16_t>(parts[2].data(), index))
                                 : 0.0f;
        const int zero = layout_.zero == ZeroKind::kPoint ? parts[2].data()[index] : middle();
        const int64_t last = std::min(cols, (g + 1) * layout_.group);
        for (int64_t k = g * layout_.group; k < last; ++k) {
          out[k] = scale * static_cast<float>(codes[static_cast<size_t>(k)] - zero) + offset;
        }
      }
    }
  }

  Status validate(std::span<const Bytes> parts, int64_t rows, int64_t cols) const override {
    LATHE_OK(check_part_sizes(*this, parts, rows, cols));
    LATHE_OK(check_finite(DType::kF16, parts[1], "weight.scale"));
    if (layout_.zero == ZeroKind::kOffset) {
      return check_finite(DType::kF16, parts[2], "weight.offset");
    }
    for (size_t i = 0; layout_.ternary && i < parts[0].size(); ++i) {
      if (parts[0].data()[i] <= kMostTrits) continue;
      return bad_input("byte {} of part 'weight.packed' is {}, but five digits of base 3 are 0…{}",
                       i, parts[0].data()[i], kMostTrits);
    }
    if (layout_.zero == ZeroKind::kMiddle) return {};
    for (size_t i = 0; i < parts[2].size(); ++i) {
      if (parts[2].data()[i] > most()) {
        return bad_input("element {} of part 'weight.zero' is {}, but a zero point is 0…{}", i,
                         parts[2].data()[i], most());
      }
    }
    return {};
  }

  const BitsLayout& layout() const { return layout_; }

 private:
  int least() const { return layout_.ternary ? 1 : 0; }
  int most() const { return (1 << layout_.bits) - 1; }
  int middle() const { return layout_.zero == ZeroKind::kMiddle ? 1 << (layout_.bits - 1) : 0; }

  void encode_group(const float* x, int64_t count, int64_t index, std::span<uint8_t* const> out,
                    uint8_t* codes) const {
    const Range range = range_of(x, count, layout_.zero != ZeroKind::kOffset);
    const float steps = static_cast<float>(most());
    const float widest =
        layout_.ternary ? ternary_scale(x, count)
        : layout_.zero == ZeroKind::kMiddle
            ? (range.high >= -range.low ? range.high : range.low) / static_cast<float>(-middle())
            : (range.high - range.low) / steps;
    const uint16_t stored = f32_to_f16(widest);
    store(out[1], index, stored);
    const float scale = f16_to_f32(stored);
    const float inverse = scale == 0.0f || !std::isfinite(scale) ? 0.0f : 1.0f / scale;
    float shift = 0;
    int zero = middle();
    if (layout_.zero == ZeroKind::kPoint) {
      zero = std::clamp(round_even(-range.low * inverse), 0, most());
      out[2][index] = static_cast<uint8_t>(zero);
    } else if (layout_.zero == ZeroKind::kOffset) {
      const uint16_t low = f32_to_f16(range.low);
      store(out[2], index, low);
      shift = std::isfinite(f16_to_f32(low)) ? f16_to_f32(low) : 0.0f;
    }
    for (int64_t i = 0; i < count; ++i) {
      // A tiny f16 scale may have been rounded to two thirds of its value: hence the clamps.
      const float scaled = std::clamp((x[i] - shift) * inverse, -1e6f, 1e6f);
      codes[i] = static_cast<uint8_t>(std::clamp(round_even(scaled) + zero, least(), most()));
    }
  }

  BitsLayout layout_;
};

}  // namespace

void unpack_bits(const uint8_t* row, int64_t cols, int bits, uint8_t* codes) {
  const uint32_t mask = (1u << bits) - 1u;
  uint32_t held = 0;
  int count = 0;
  for (int64_t k = 0; k < cols; ++k) {
    if (count < bits) {
      held |= static_cast<uint32_t>(*row++) << count;
      count += 8;
    }
    codes[k] = static_cast<uint8_t>(held & mask);
    held >>= bits;
    count -= bits;
  }
}

void pack_bits(const uint8_t* codes, int64_t cols, int bits, uint8_t* row) {
  uint32_t held = 0;
  int count = 0;
  for (int64_t k = 0; k < cols; ++k) {
    held |= static_cast<uint32_t>(codes[k]) << count;
    count += bits;
    if (count >= 8) {
      *row++ = static_cast<uint8_t>(held);
      held >>= 8;
      count -= 8;
    }
  }
  if (count > 0) *row = static_cast<uint8_t>(held);
}

void unpack_trits(const uint8_t* row, int64_t cols, uint8_t* codes) {
  int held = 0;
  for (int64_t k = 0; k < cols; ++k) {
    if (k % 5 == 0) held = *row++;
    codes[k] = static_cast<uint8_t>(1 + held % 3);
    held /= 3;
  }
}

void pack_trits(const uint8_t* codes, int64_t cols, uint8_t* row) {
  constexpr int kPowers[] = {1, 3, 9, 27, 81};
  int held = 0;
  for (int64_t k = 0; k < cols; ++k) {
    held += (codes[k] - 1) * kPowers[k % 5];
    if (k % 5 != 4 && k + 1 != cols) continue;
    *row++ = static_cast<uint8_t>(held);
    held = 0;
  }
}

int64_t packed_row_bytes(const BitsLayout& layout, int64_t cols) {
  return layout.ternary ? ceil_div(cols, 5) : ceil_div(cols * layout.bits, 8);
}

void unpack_row(const BitsLayout& layout, const uint8_t* row, int64_t cols, uint8_t* codes) {
  if (layout.ternary) return unpack_trits(row, cols, codes);
  unpack_bits(row, cols, layout.bits, codes);
}

void pack_row(const BitsLayout& layout, const uint8_t* codes, int64_t cols, uint8_t* row) {
  if (layout.ternary) return pack_trits(codes, cols, row);
  pack_bits(codes, cols, layout.bits, row);
}

float ternary_scale(const float* x, int64_t count) {
  std::vector<float> sizes(x, x + count);
  for (float& size : sizes) size = std::fabs(size);
  std::sort(sizes.begin(), sizes.end(), std::greater<>());
  double sum = 0, best = 0, scale = 0;
  for (int64_t k = 0; k < count; ++k) {
    sum += static_cast<double>(sizes[static_cast<size_t>(k)]);
    const double gain = sum * sum / static_cast<double>(k + 1);
    if (gain <= best) continue;
    best = gain;
    scale = sum / static_cast<double>(k + 1);
  }
  return static_cast<float>(scale);
}

FormatPtr make_bits_format(int bits, int64_t group, ZeroKind zero) {
  return std::make_shared<BitsFormat>(BitsLayout{bits, group, zero});
}

Result<FormatPtr> parse_bits(std::string_view name, int bits, std::string_view options) {
  int64_t group = 0;
  ZeroKind zero = ZeroKind::kMiddle;
  for (const std::string_view option : split_options(options)) {
    const auto number = prefixed_number(option, "g");
    if ((option == "asym" || option == "offset") && zero == ZeroKind::kMiddle) {
      zero = option == "asym" ? ZeroKind::kPoint : ZeroKind::kOffset;
    } else if (number && !group) {
      group = *number;
    } else {
      return bad_input("unknown or repeated option '{}' of format {}", option, name);
    }
  }
  if (!group) return bad_input("format {} needs a group size such as g64", name);
  if (group % 16 != 0 || group > kMostGroup) {
    return bad_input("{} groups are multiples of 16 up to {}, not {}", name, kMostGroup, group);
  }
  return make_bits_format(bits, group, zero);
}

FormatKind int2_kind() {
  return {"int2",
          "int2:gN[,asym|,offset]",
          "2-bit integers in groups of N columns",
          {"int2:g32", "int2:g64", "int2:g32,asym", "int2:g64,offset"},
          [](std::string_view options) { return parse_bits("int2", 2, options); }};
}

FormatKind ternary_kind() {
  return {"ternary",
          "ternary:gN",
          "−1, 0 or 1 times a scale per group of N columns, in 1.6 bits",
          {"ternary:g32", "ternary:g64", "ternary:g128"},
          [](std::string_view options) -> Result<FormatPtr> {
            LATHE_TRY(const FormatPtr format, parse_bits("ternary", 2, options));
            BitsLayout layout = bits_layout(*format);
            if (layout.zero != ZeroKind::kMiddle) {
              return bad_input("format ternary has no zero point and no offset");
            }
            layout.ternary = true;
            return FormatPtr(std::make_shared<BitsFormat>(layout));
          }};
}

FormatKind int3_kind() {
  return {"int3",
          "int3:gN[,asym|,offset]",
          "3-bit integers in groups of N columns",
          {"int3:g32", "int3:g64", "int3:g128", "int3:g32,asym", "int3:g64,offset"},
          [](std::string_view options) { return parse_bits("int3", 3, options); }};
}

}  // namespace lathe::formats

namespace lathe {

BitsLayout bits_layout(const Format& format) {
  LATHE_CHECK(format.encoding() == Encoding::kBits);
  return static_cast<const formats::BitsFormat&>(format).layout();
}

std::vector<uint8_t> bits_codes(const Format& format, std::span<const Bytes> parts, int64_t cols,
                                int64_t row) {
  const BitsLayout layout = bits_layout(format);
  std::vector<uint8_t> codes(static_cast<size_t>(cols));
  const int64_t stride = formats::packed_row_bytes(layout, cols);
  formats::unpack_row(layout, parts[0].data() + row * stride, cols, codes.data());
  return codes;
}

}  // namespace lathe
