#include "lathe/export/convert.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "lathe/formats/gguf_blocks.h"
#include "lathe/formats/layouts.h"

namespace lathe {
namespace {

// Both have w = d · (code − 8) with F16 d. int4 has neighbouring columns in a byte, Q4_0 has column
// i and i + 16.
WeightMatrix move_to_q4_0(const WeightMatrix& source, const FormatPtr& target) {
  const int64_t cols = source.cols(), per_row = cols / gguf::kSmall;
  const int64_t group = int_layout(source.format()).group, groups = (cols + group - 1) / group;
  uint8_t* out = nullptr;
  Bytes bytes = Bytes::allocate(static_cast<size_t>(target->bytes(source.rows(), cols)), &out);
  const uint8_t* codes = source.parts()[0].data();
  const uint8_t* scales = source.parts()[1].data();
  for (int64_t b = 0; b < source.rows() * per_row; ++b) {
    const int64_t row = b / per_row, column = b % per_row * gguf::kSmall;
    const uint8_t* from = codes + (row * cols + column) / 2;
    gguf::BlockQ4_0 block;
    std::memcpy(&block.d, scales + 2 * (row * groups + column / group), 2);
    const auto code = [&](int i) { return i % 2 ? from[i / 2] >> 4 : from[i / 2] & 15; };
    for (int i = 0; i < 16; ++i) {
      block.qs[i] = static_cast<uint8_t>(code(i) | code(i + 16) << 4);
    }
    std::memcpy(out + b * static_cast<int64_t>(sizeof(block)), &block, sizeof(block));
  }
  return WeightMatrix::create(target, source.rows(), cols, {std::move(bytes)}, "q4_0").value();
}

void compare(const WeightMatrix& a, Converted& b) {
  constexpr int64_t kElements = int64_t{1} << 20;
  const int64_t step = std::max<int64_t>(1, kElements / a.cols());
  std::vector<float> x, y;
  float largest = 0, change = 0;
  for (int64_t begin = 0; begin < a.rows(); begin += step) {
    const int64_t end = std::min(a.rows(), begin + step);
    x.resize(static_cast<size_t>((end - begin) * a.cols()));
    y.resize(x.size());
    a.decode_rows(begin, end, x.data());
    b.matrix.decode_rows(begin, end, y.data());
    for (size_t i = 0; i < x.size(); ++i) {
      largest = std::max(largest, std::fabs(x[i]));
      change = std::max(change, std::fabs(x[i] - y[i]));
    }
  }
  b.exact = change == 0;
  b.largest_change = largest > 0 ? change / largest : change;
}

}  // namespace

bool is_q4_0(const WeightMatrix& matrix) {
  if (matrix.format().encoding() != Encoding::kInt4 || matrix.cols() % gguf::kSmall) return false;
  const IntLayout layout = int_layout(matrix.format());
  return layout.group > 0 && layout.group % gguf::kSmall == 0 && !layout.asymmetric;
}

Result<Converted> convert(const WeightMatrix& source, const FormatPtr& target,
                          std::string_view where, ThreadPool& pool) {
  if (source.format().spec() == target->spec()) return Converted{source};
  LATHE_OK_IN(target->supports(source.rows(), source.cols()), where);
  Converted out;
  if (target->spec() == "q4_0" && is_q4_0(source)) {
    out.matrix = move_to_q4_0(source, target);
  } else {
    if (!target->can_encode()) {
      return unsupported("{}: format {} is only read", where, target->spec())
          .with_hint("q8_0, q5_1, q5_0, q4_1, q4_0, f16 and bf16 are written");
    }
    const std::vector<float> weights = source.decode(pool);
    LATHE_TRY(out.matrix, WeightMatrix::encode(target, weights.data(), source.rows(), source.cols(),
                                               where, &pool));
  }
  compare(source, out);
  return out;
}

}  // namespace lathe
