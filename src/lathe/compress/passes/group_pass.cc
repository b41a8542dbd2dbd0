#include "lathe/compress/passes/group_pass.h"
#include "lathe/formats/sparse.h"

#include <algorithm>
#include <cmath>

namespace lathe {

Status supports_groups(const FormatPtr& format, int64_t rows, int64_t cols) {
  if (code_encoding(format) == Encoding::kFloat) return {};
  LATHE_OK(GroupGrid::create(format, rows, cols));
  return {};
}

Status round_groups(WorkMatrix& matrix, const FormatPtr& format, ThreadPool& pool,
                    const std::function<GridGroup(const GroupGrid& grid, const float* x,
                                                  int64_t begin, int64_t count)>& fit) {
  if (code_encoding(format) == Encoding::kFloat) return matrix.quantize(format, pool);
  const int64_t rows = matrix.info().rows, cols = matrix.info().cols;
  LATHE_TRY(const GroupGrid grid, GroupGrid::create(format, rows, cols));
  const float* now = matrix.weights(pool);
  std::vector<float> values(now, now + matrix.size());
  const auto bad =
      std::find_if(values.begin(), values.end(), [](float x) { return !std::isfinite(x); });
  if (bad != values.end()) {
    const int64_t at = bad - values.begin();
    return bad_input("weight [{}, {}] is {}; a checkpoint must hold finite numbers", at / cols,
                     at % cols, *bad);
  }
  std::vector<GridGroup> groups(static_cast<size_t>(rows * grid.groups()));
  pool.parallel_for(rows, 4, [&](int64_t first, int64_t last) {
    for (int64_t r = first; r < last; ++r) {
      for (int64_t g = 0; g < grid.groups(); ++g) {
        const int64_t begin = g * grid.group(), count = std::min(grid.group(), cols - begin);
        float* x = values.data() + r * cols + begin;
        const GridGroup group = fit(grid, x, begin, count);
        for (int64_t k = 0; k < count; ++k) x[k] = grid.round(x[k], group);
        groups[static_cast<size_t>(r * grid.groups() + g)] = group;
      }
    }
  });
  LATHE_TRY(WeightMatrix stored, grid.encode(values.data(), groups, matrix.info().name, pool));
  matrix.store(std::move(stored));
  return {};
}

}  // namespace lathe
