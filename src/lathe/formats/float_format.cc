// F32, F16, BF16: elements as they are, one part `weight` [N, K].
#include "lathe/formats/detail.h"
#include "lathe/formats/kinds.h"

namespace lathe::formats {
namespace {

class FloatFormat final : public Format {
 public:
  FloatFormat(Kind kind, std::string name, DType dtype, SnrBounds snr)
      : kind_(kind), name_(std::move(name)), dtype_(dtype), snr_(snr) {}

  std::string spec() const override { return name_; }
  uint32_t id() const override { return make_id(kind_, 0); }
  Encoding encoding() const override { return Encoding::kFloat; }
  bool lossless() const override { return dtype_ == DType::kF32; }
  bool exact_zero() const override { return true; }
  SnrBounds snr() const override { return snr_; }

  Status supports(int64_t rows, int64_t cols) const override { return check_shape(rows, cols); }
  std::vector<PartSpec> parts(int64_t rows, int64_t cols) const override {
    return {{"weight", dtype_, {rows, cols}}};
  }

  void encode(const float* weights, int64_t rows, int64_t cols,
              std::span<uint8_t* const> out) const override {
    narrow(dtype_, weights, rows * cols, out[0]);
  }

  void decode_rows(std::span<const Bytes> parts, int64_t /*rows*/, int64_t cols, int64_t begin,
                   int64_t end, float* out) const override {
    widen(dtype_, parts[0].data() + begin * cols * size_of(dtype_), (end - begin) * cols, out);
  }

  Status validate(std::span<const Bytes> parts, int64_t rows, int64_t cols) const override {
    LATHE_OK(check_part_sizes(*this, parts, rows, cols));
    return check_finite(dtype_, parts[0], "weight");
  }

 private:
  Kind kind_;
  std::string name_;
  DType dtype_;
  SnrBounds snr_;
};

Result<FormatPtr> parse_f32(std::string_view options) {
  if (!options.empty()) return bad_input("format f32 takes no options, got '{}'", options);
  return FormatPtr(std::make_shared<FloatFormat>(Kind::kF32, "f32", DType::kF32, kLossless));
}

// A relative rounding error, uniform in ±2^-11 (F16) or ±2^-8 (BF16) of the power of two below the
// weight, gives 73.8 and 55.7 dB for normally distributed weights.
Result<FormatPtr> parse_f16(std::string_view options) {
  if (!options.empty()) return bad_input("format f16 takes no options, got '{}'", options);
  return FormatPtr(
      std::make_shared<FloatFormat>(Kind::kF16, "f16", DType::kF16, SnrBounds{72.5, 75.0}));
}

Result<FormatPtr> parse_bf16(std::string_view options) {
  if (!options.empty()) return bad_input("format bf16 takes no options, got '{}'", options);
  return FormatPtr(
      std::make_shared<FloatFormat>(Kind::kBF16, "bf16", DType::kBF16, SnrBounds{54.5, 57.0}));
}

}  // namespace

FormatKind f32_kind() {
  return {"f32", "f32", "32-bit floats, the reference: nothing is lost", {"f32"}, parse_f32};
}
FormatKind f16_kind() {
  return {"f16", "f16", "IEEE half precision, at most 65504", {"f16"}, parse_f16};
}
FormatKind bf16_kind() {
  return {"bf16", "bf16", "bfloat16: the range of f32, 8 bits of precision", {"bf16"}, parse_bf16};
}

}  // namespace lathe::formats
