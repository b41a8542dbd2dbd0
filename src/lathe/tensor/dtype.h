// Element types of plain (not quantized) storage. A quantized encoding is never a dtype: see
// formats/.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string_view>

namespace lathe {

enum class DType : uint8_t { kF32, kF16, kBF16, kF64, kI64, kI32, kI16, kI8, kU8, kBool };

// Bytes of one element.
constexpr int64_t size_of(DType t) {
  switch (t) {
    case DType::kF64:
    case DType::kI64:
      return 8;
    case DType::kF32:
    case DType::kI32:
      return 4;
    case DType::kF16:
    case DType::kBF16:
    case DType::kI16:
      return 2;
    default:
      return 1;
  }
}

// The safetensors name: "F32", "BF16", "I32", …
std::string_view name_of(DType t);
std::optional<DType> dtype_from_name(std::string_view name);

inline float bf16_to_f32(uint16_t h) { return std::bit_cast<float>(uint32_t{h} << 16); }

// Round to nearest even; NaN stays NaN.
inline uint16_t f32_to_bf16(float x) {
  const uint32_t u = std::bit_cast<uint32_t>(x);
  if ((u & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((u >> 16) | 0x40u);
  return static_cast<uint16_t>((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
}

float f16_to_f32(uint16_t h);
// Round to nearest even; overflow gives infinity; NaN stays NaN.
uint16_t f32_to_f16(float x);

// Widens `count` elements of F32, F16 or BF16 to f32 (any alignment). Other types: not allowed.
void widen(DType t, const uint8_t* source, int64_t count, float* out);
// Narrows f32 to F32, F16 or BF16.
void narrow(DType t, const float* source, int64_t count, uint8_t* out);

}  // namespace lathe
