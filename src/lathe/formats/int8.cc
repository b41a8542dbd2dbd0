// int8: symmetric 8-bit codes, one f32 scale per row or per group of columns.
//
// int8:row  parts `weight` I8 [N, K], `weight.scb` F32 [N]: w = code · SCB/127 with SCB = max |w|
//           of the row. Codes and SCB are those of bitsandbytes' int8_vectorwise_quant (LLM.int8,
//           Dettmers et al. 2022), whose parts these are.
// int8:gN   parts `weight` I8 [N, K], `weight.scale` F32 [N, ⌈K/g⌉]: w = code · scale with
//           scale = max |w| / 127 of the group. The last group of a row may be shorter.
// int8:row,outliers  see int8_outliers.cc.
#include "lathe/formats/int8.h"

#include <algorithm>

#include "lathe/formats/kinds.h"
#include "lathe/formats/run_loops.h"

namespace lathe::formats {

// The reference multiplies by (1/max)·127, in f32 and in this order. Below 2^-120 the reciprocal
// would overflow; there (where the reference has no defined result) the codes are those of the
// run scaled up by a power of two, which is exact.
void encode_int8_run(const float* x, int64_t count, float most, int8_t* codes) {
  if (most == 0.0f) {
    std::fill_n(codes, count, int8_t{0});
    return;
  }
  const float lift = most < 0x1p-120f ? 0x1p60f : 1.0f;
  const float factor = (1.0f / (most * lift)) * 127.0f;
  round_bytes(x, count, lift, factor, codes);
}

Status check_int8_scales(const Bytes& part, const char* name, float divisor) {
  LATHE_OK(check_finite(DType::kF32, part, name));
  const int64_t count = static_cast<int64_t>(part.size()) / 4;
  for (int64_t i = 0; i < count; ++i) {
    const float stored = load<float>(part.data(), i);
    if (!std::isfinite(stored / divisor * 128.0f)) {
      return bad_input("element {} of part '{}' is {}: decoded weights would overflow", i, name,
                       stored);
    }
  }
  return {};
}

namespace {

class Int8Format final : public Format {
 public:
  explicit Int8Format(int64_t group) : group_(group) {}  // 0: one scale per row

  std::string spec() const override {
    return group_ ? fmt::format("int8:g{}", group_) : std::string("int8:row");
  }
  uint32_t id() const override { return make_id(Kind::kInt8, static_cast<uint32_t>(group_)); }
  Encoding encoding() const override { return Encoding::kInt8; }
  bool exact_zero() const override { return true; }
  // Uniform error in a step of max/127; the longer the group, the larger its maximum. Measured at
  // 64×512: 45.5 (g32), 43.8 (g128), 42.6 dB (row).
  SnrBounds snr() const override {
    if (group_ && group_ <= 32) return {44.5, 48.5};
    if (group_ && group_ <= 128) return {42.8, 45.4};
    return {38.5, 44.0};
  }

  Status supports(int64_t rows, int64_t cols) const override { return check_shape(rows, cols); }
  std::vector<PartSpec> parts(int64_t rows, int64_t cols) const override {
    if (!group_) return {{"weight", DType::kI8, {rows, cols}}, {"weight.scb", DType::kF32, {rows}}};
    return {{"weight", DType::kI8, {rows, cols}},
            {"weight.scale", DType::kF32, {rows, ceil_div(cols, group_)}}};
  }

  void encode(const float* weights, int64_t rows, int64_t cols,
              std::span<uint8_t* const> out) const override {
    const int64_t group = group_ ? group_ : cols;
    const int64_t groups = ceil_div(cols, group);
    auto* codes = reinterpret_cast<int8_t*>(out[0]);
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t g = 0; g < groups; ++g) {
        const int64_t begin = r * cols + g * group;
        const int64_t count = std::min(group, cols - g * group);
        const float most = absmax(weights + begin, count);
        encode_int8_run(weights + begin, count, most, codes + begin);
        store(out[1], r * groups + g, group_ ? most / 127.0f : most);
      }
    }
  }

  void decode_rows(std::span<const Bytes> parts, int64_t /*rows*/, int64_t cols, int64_t begin,
                   int64_t end, float* out) const override {
    const int64_t group = group_ ? group_ : cols;
    const int64_t groups = ceil_div(cols, group);
    const int8_t* codes = parts[0].as<int8_t>();
    for (int64_t r = begin; r < end; ++r) {
      for (int64_t g = 0; g < groups; ++g) {
        const float stored = load<float>(parts[1].data(), r * groups + g);
        const float scale = group_ ? stored : stored / 127.0f;
        const int64_t last = std::min(cols, (g + 1) * group);
        scale_bytes(codes + r * cols + g * group, last - g * group, scale, out + g * group);
      }
      out += cols;
    }
  }

  Status validate(std::span<const Bytes> parts, int64_t rows, int64_t cols) const override {
    LATHE_OK(check_part_sizes(*this, parts, rows, cols));
    return group_ ? check_int8_scales(parts[1], "weight.scale", 1.0f)
                  : check_int8_scales(parts[1], "weight.scb", 127.0f);
  }

 private:
  int64_t group_;
};

Result<FormatPtr> parse_int8(std::string_view options) {
  if (options == "row" || options.empty()) return FormatPtr(std::make_shared<Int8Format>(0));
  if (options == "row,outliers") return int8_outliers();
  const auto group = prefixed_number(options, "g");
  if (!group) return bad_input("unknown option '{}' of format int8", options);
  if (*group % 16 != 0 || *group > kMostGroup) {
    return bad_input("int8 groups are multiples of 16 up to {}, not {}", kMostGroup, *group);
  }
  return FormatPtr(std::make_shared<Int8Format>(*group));
}

}  // namespace

FormatKind int8_kind() {
  return {"int8",
          "int8:row[,outliers] | int8:gN",
          "symmetric 8-bit integers, a scale per row (as bitsandbytes) or per N columns",
          {"int8:row", "int8:g32", "int8:g128", "int8:row,outliers"},
          parse_int8};
}

}  // namespace lathe::formats
