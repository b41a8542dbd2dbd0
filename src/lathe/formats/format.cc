#include "lathe/formats/format.h"

#include <cmath>

#include "lathe/formats/layouts.h"

namespace lathe {

int64_t PartSpec::bytes() const {
  int64_t total = size_of(dtype);
  for (const int64_t extent : shape) total *= extent;
  return total;
}

int64_t Format::bytes(int64_t rows, int64_t cols, double zeros) const {
  int64_t total = 0;
  for (const PartSpec& part : parts(rows, cols)) {
    const int64_t most = part.expected_bytes ? part.expected_bytes : part.bytes();
    total += part.varies ? std::llround(static_cast<double>(most) * (1 - zeros)) : part.bytes();
  }
  return total;
}

double Format::bits_per_weight(int64_t rows, int64_t cols) const {
  return 8.0 * static_cast<double>(bytes(rows, cols)) /
         (static_cast<double>(rows) * static_cast<double>(cols));
}

IntLayout int_layout(const Format& format) {
  const uint32_t parameters = format.id() >> 8;
  if (format.encoding() == Encoding::kInt8) return {parameters, false};
  LATHE_CHECK(format.encoding() == Encoding::kInt4);
  return {parameters >> 1, (parameters & 1) != 0};
}

}  // namespace lathe
