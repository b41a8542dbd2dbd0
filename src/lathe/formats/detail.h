// Helpers that the number formats share: unaligned loads, rounding, option parsing, part checks.
// Not for the layers above.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "lathe/base/parse_number.h"
#include "lathe/formats/format.h"
#include "lathe/tensor/dtype.h"

namespace lathe::formats {

// The low byte of Format::id(). Permanent: ids may stand in files and caches.
enum class Kind : uint32_t {
  kF32 = 1,
  kF16 = 2,
  kBF16 = 3,
  kInt8 = 4,
  kInt4 = 5,
  kNf4 = 6,
  kFp4 = 7,
  kGguf = 8,
  kInt2 = 9,
  kInt3 = 10,
  kMxfp4 = 11,
  kNvfp4 = 12,
  kTernary = 13,
  kInt8Outliers = 14,
  kSparse = 32,
  kSparse24 = 33,
  kSparse48 = 34,
};
constexpr uint32_t make_id(Kind kind, uint32_t parameters) {
  return static_cast<uint32_t>(kind) | (parameters << 8);
}

constexpr SnrBounds kLossless{std::numeric_limits<double>::infinity(),
                              std::numeric_limits<double>::infinity()};

// Parts may be mapped from a file at any alignment.
template <typename T>
T load(const void* base, int64_t index = 0) {
  T value;
  std::memcpy(&value, static_cast<const uint8_t*>(base) + index * static_cast<int64_t>(sizeof(T)),
              sizeof(T));
  return value;
}
template <typename T>
void store(void* base, int64_t index, T value) {
  std::memcpy(static_cast<uint8_t*>(base) + index * static_cast<int64_t>(sizeof(T)), &value,
              sizeof(T));
}

// Groups of the integer formats are multiples of 16 columns up to this.
constexpr int64_t kMostGroup = 65536;

constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Nearest integer, ties to even, for |x| < 2^22. Adding 1.5·2^23 leaves the integer in the low bits
// of the mantissa; unlike lrintf this vectorises on every instruction set.
inline int32_t round_even(float x) { return std::bit_cast<int32_t>(x + 0x1.8p23f) - 0x4b400000; }

// max |x| of finite values. Compares bit patterns, which order like the magnitudes do.
float absmax(const float* x, int64_t count);

// "a,b,c" → pieces; an empty text has none.
std::vector<std::string_view> split_options(std::string_view text);
// `option` is prefix + positive integer ("g128", "b64").
std::optional<int64_t> prefixed_number(std::string_view option, std::string_view prefix);

// A mapped matrix larger than this is checked in slices whose pages are given back at once: a table
// of 262,144 words would otherwise be in memory twice while it is packed.
inline constexpr int64_t kCheckedAtOnce = int64_t{8} << 20;

// rows, cols ≥ 1 and rows·cols small enough that no size computed from it overflows.
Status check_shape(int64_t rows, int64_t cols);
// One buffer per part, each of exactly the declared size.
Status check_part_sizes(const Format& format, std::span<const Bytes> parts, int64_t rows,
                        int64_t cols);
// Index of the first infinite or NaN element, or −1.
int64_t first_not_finite(DType dtype, const uint8_t* data, int64_t count);
// Of weights that are to be encoded; `where` begins the error.
Status check_finite_weights(const float* weights, int64_t rows, int64_t cols,
                            std::string_view where);
// Every element of an F32, F16 or BF16 part is finite; the error names the part and the first bad
// index.
Status check_finite(DType dtype, const Bytes& bytes, std::string_view part);

}  // namespace lathe::formats
