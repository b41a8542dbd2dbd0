#include "lathe/formats/detail.h"

#include <algorithm>

#include "lathe/base/mapped_file.h"
#include "lathe/base/wide.h"

namespace lathe::formats {

std::vector<std::string_view> split_options(std::string_view text) {
  std::vector<std::string_view> pieces;
  while (!text.empty()) {
    const size_t comma = text.find(',');
    pieces.push_back(text.substr(0, comma));
    if (comma == std::string_view::npos) break;
    text.remove_prefix(comma + 1);
    if (text.empty()) pieces.push_back(text);  // a trailing comma is an (unknown) empty option
  }
  return pieces;
}

std::optional<int64_t> prefixed_number(std::string_view option, std::string_view prefix) {
  if (!option.starts_with(prefix)) return std::nullopt;
  option.remove_prefix(prefix.size());
  if (option.empty() || option.front() < '1' || option.front() > '9') return std::nullopt;
  return parse_number<int64_t>(option);
}

Status check_shape(int64_t rows, int64_t cols) {
  constexpr int64_t kMost = int64_t{1} << 48;
  if (rows < 1 || cols < 1) {
    return bad_input("a weight matrix needs at least one row and one column, not {}×{}", rows,
                     cols);
  }
  if (cols > kMost / rows) return bad_input("a weight matrix of {}×{} is too large", rows, cols);
  return {};
}

Status check_part_sizes(const Format& format, std::span<const Bytes> parts, int64_t rows,
                        int64_t cols) {
  const std::vector<PartSpec> specs = format.parts(rows, cols);
  if (parts.size() != specs.size()) {
    return bad_input("format {} needs {} parts, got {}", format.spec(), specs.size(), parts.size());
  }
  for (size_t i = 0; i < specs.size(); ++i) {
    if (static_cast<int64_t>(parts[i].size()) != specs[i].bytes()) {
      return bad_input("part '{}' of format {} holds {} bytes, but {}×{} weights need {}",
                       specs[i].name, format.spec(), parts[i].size(), rows, cols, specs[i].bytes());
    }
  }
  return {};
}

namespace {

// The exponent of each element, all bits set, means infinity or NaN. A branch-free scan first:
// large float matrices are checked whole when they are opened.
template <typename T>
__attribute__((always_inline)) inline int64_t first_with_exponent(const uint8_t* data,
                                                                  int64_t count, T exponent) {
  constexpr int64_t kChunk = 4096;
  for (int64_t begin = 0; begin < count; begin += kChunk) {
    const int64_t end = begin + kChunk < count ? begin + kChunk : count;
    T bad = 0;
    for (int64_t i = begin; i < end; ++i) {
      bad = static_cast<T>(bad | ((load<T>(data, i) & exponent) == exponent ? T{1} : T{0}));
    }
    if (!bad) continue;
    for (int64_t i = begin; i < end; ++i) {
      if ((load<T>(data, i) & exponent) == exponent) return i;
    }
  }
  return -1;
}

LATHE_WIDE int64_t first_bad_f32(const uint8_t* data, int64_t count) {
  return first_with_exponent<uint32_t>(data, count, 0x7f800000u);
}
LATHE_WIDE int64_t first_bad_16(const uint8_t* data, int64_t count, uint16_t exponent) {
  return first_with_exponent<uint16_t>(data, count, exponent);
}

}  // namespace

int64_t first_not_finite(DType dtype, const uint8_t* data, int64_t count) {
  switch (dtype) {
    case DType::kF32:
      return first_bad_f32(data, count);
    case DType::kF16:
      return first_bad_16(data, count, 0x7c00u);
    case DType::kBF16:
      return first_bad_16(data, count, 0x7f80u);
    default:
      LATHE_CHECK(false);
      return -1;
  }
}

Status check_finite_weights(const float* weights, int64_t rows, int64_t cols,
                            std::string_view where) {
  const int64_t bad =
      first_not_finite(DType::kF32, reinterpret_cast<const uint8_t*>(weights), rows * cols);
  if (bad < 0) return {};
  return bad_input("{}: weight [{}, {}] is {}; a checkpoint must hold finite numbers", where,
                   bad / cols, bad % cols, weights[bad]);
}

Status check_finite(DType dtype, const Bytes& bytes, std::string_view part) {
  const int64_t size = size_of(dtype);
  const int64_t count = static_cast<int64_t>(bytes.size()) / size;
  const int64_t step = kCheckedAtOnce / size;
  for (int64_t first = 0; first < count; first += step) {
    const int64_t some = std::min(step, count - first);
    const Bytes slice =
        bytes.slice(static_cast<size_t>(first * size), static_cast<size_t>(some * size));
    if (const int64_t bad = first_not_finite(dtype, slice.data(), some); bad >= 0) {
      return bad_input("element {} of part '{}' ({}) is infinite or not a number", first + bad,
                       part, name_of(dtype));
    }
    if (step < count) release_pages(slice);
  }
  return {};
}

}  // namespace lathe::formats
