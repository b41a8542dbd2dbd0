#include "lathe/tensor/dtype.h"

#include <array>
#include <utility>

#include "lathe/base/check.h"
#include "lathe/base/wide.h"

namespace lathe {
namespace {

constexpr std::array<std::pair<DType, std::string_view>, 10> kNames = {{
    {DType::kF32, "F32"},
    {DType::kF16, "F16"},
    {DType::kBF16, "BF16"},
    {DType::kF64, "F64"},
    {DType::kI64, "I64"},
    {DType::kI32, "I32"},
    {DType::kI16, "I16"},
    {DType::kI8, "I8"},
    {DType::kU8, "U8"},
    {DType::kBool, "BOOL"},
}};

}  // namespace

std::string_view name_of(DType t) {
  for (const auto& [type, name] : kNames) {
    if (type == t) return name;
  }
  return "?";
}

std::optional<DType> dtype_from_name(std::string_view name) {
  for (const auto& [type, known] : kNames) {
    if (known == name) return type;
  }
  return std::nullopt;
}

float f16_to_f32(uint16_t h) {
  const uint32_t sign = uint32_t{h & 0x8000u} << 16;
  const uint32_t exponent = (h >> 10) & 31u;
  const uint32_t mantissa = h & 0x3ffu;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7f800000u | (mantissa << 13));
  if (exponent != 0)
    return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (mantissa << 13));
  const float small = static_cast<float>(mantissa) * 0x1.0p-24f;
  return sign ? -small : small;
}

uint16_t f32_to_f16(float x) {
  const uint32_t u = std::bit_cast<uint32_t>(x);
  const auto sign = static_cast<uint16_t>((u >> 16) & 0x8000u);
  const uint32_t a = u & 0x7fffffffu;
  if (a > 0x7f800000u) return sign | 0x7e00u;
  if (a >= 0x477ff000u) return sign | 0x7c00u;  // 65520 and above round to infinity
  if (a < 0x38800000u) {                        // subnormal: one unit is 2^-24
    // Adding 0.5 makes the float addition itself round to nearest even at bit 2^-24.
    const float shifted = std::bit_cast<float>(a) + 0.5f;
    return sign | static_cast<uint16_t>(std::bit_cast<uint32_t>(shifted) - 0x3f000000u);
  }
  const uint32_t odd = (a >> 13) & 1u;
  return sign | static_cast<uint16_t>((a - 0x38000000u + 0xfffu + odd) >> 13);
}

namespace {

LATHE_WIDE void widen_bf16(const uint8_t* source, int64_t count, float* out) {
  for (int64_t i = 0; i < count; ++i) {
    uint16_t h;
    std::memcpy(&h, source + 2 * i, 2);
    out[i] = bf16_to_f32(h);
  }
}

}  // namespace

void widen(DType t, const uint8_t* source, int64_t count, float* out) {
  if (t == DType::kF32) {
    std::memcpy(out, source, static_cast<size_t>(count) * 4);
    return;
  }
  LATHE_CHECK(t == DType::kF16 || t == DType::kBF16);
  if (t == DType::kBF16) return widen_bf16(source, count, out);
  for (int64_t i = 0; i < count; ++i) {
    uint16_t h;
    std::memcpy(&h, source + 2 * i, 2);
    out[i] = f16_to_f32(h);
  }
}

namespace {

// f32_to_bf16() without a branch.
LATHE_WIDE void narrow_bf16(const float* source, int64_t count, uint8_t* out) {
  for (int64_t i = 0; i < count; ++i) {
    const auto u = std::bit_cast<uint32_t>(source[i]);
    const uint32_t rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
    const uint32_t nan = (u >> 16) | 0x40u;
    const auto h = static_cast<uint16_t>((u & 0x7fffffffu) > 0x7f800000u ? nan : rounded);
    std::memcpy(out + 2 * i, &h, 2);
  }
}

}  // namespace

void narrow(DType t, const float* source, int64_t count, uint8_t* out) {
  if (t == DType::kF32) {
    std::memcpy(out, source, static_cast<size_t>(count) * 4);
    return;
  }
  LATHE_CHECK(t == DType::kF16 || t == DType::kBF16);
  if (t == DType::kBF16) return narrow_bf16(source, count, out);
  for (int64_t i = 0; i < count; ++i) {
    const uint16_t h = f32_to_f16(source[i]);
    std::memcpy(out + 2 * i, &h, 2);
  }
}

}  // namespace lathe
