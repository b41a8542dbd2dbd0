// hqq: zero points that need not be whole, found without data (passes/hqq.h).
#include "lathe/compress/passes/hqq.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "lathe/compress/passes/format_parameter.h"
#include "lathe/compress/passes/group_pass.h"
#include "lathe/compress/passes/list.h"
#include "lathe/formats/sparse.h"

namespace lathe {
namespace {

constexpr double kNorm = 0.7, kBeta = 10, kKappa = 1.01;
constexpr int kSteps = 20;

// The proximal step for |e|^p.
double shrink(double e, double beta) {
  const double size = std::fabs(e);
  if (size == 0) return 0;
  return std::copysign(std::max(0.0, size - std::pow(size, kNorm - 1) / beta), e);
}

class HqqRun : public PassRun {
 public:
  explicit HqqRun(ThreadPool& pool) : pool_(pool) {}

  Status apply(WorkMatrix& matrix, const StepTarget& target) override {
    return round_groups(matrix, target.format, pool_,
                        [](const GroupGrid& grid, const float* x, int64_t /*begin*/,
                           int64_t count) { return hqq_fit(grid, x, count); });
  }

 private:
  ThreadPool& pool_;
};

Result<std::unique_ptr<PassRun>> start_hqq(const PassSetup& setup) {
  return std::unique_ptr<PassRun>(std::make_unique<HqqRun>(setup.pool));
}

Status supports_hqq(const FormatPtr& format, int64_t rows, int64_t cols) {
  if (code_encoding(format) == Encoding::kFloat) return {};
  const auto grid = GroupGrid::create(format, rows, cols);
  if (grid.ok() && grid->has_offset()) return {};
  return unsupported("hqq: format {} has no offset to be chosen", format->spec())
      .with_hint("formats that have one: int4:gN,offset, int3:gN,offset, int2:gN,offset");
}

}  // namespace

GridGroup hqq_fit(const GroupGrid& grid, const float* x, int64_t count) {
  const auto [low, high] = std::minmax_element(x, x + count);
  const double most = grid.highest_code();
  const double scale = (double{*high} - double{*low}) / most;
  if (!(scale > 0)) return grid.stored(0, *low);
  double zero = -double{*low} / scale, best_zero = zero, beta = kBeta;
  double least = std::numeric_limits<double>::infinity();
  for (int step = 0; step < kSteps; ++step) {
    double error = 0, next = 0;
    for (int64_t i = 0; i < count; ++i) {
      const double q = std::clamp(std::nearbyint(double{x[i]} / scale + zero), 0.0, most);
      const double e = double{x[i]} - scale * (q - zero);
      error += std::fabs(e);
      next += q - (double{x[i]} - shrink(e, beta)) / scale;
    }
    if (!(error < least)) break;
    least = error;
    best_zero = zero;
    zero = next / static_cast<double>(count);
    beta *= kKappa;
  }
  return grid.stored(static_cast<float>(scale), static_cast<float>(-scale * best_zero));
}

Pass hqq_pass() {
  return {"hqq",
          "round to nearest with offsets by half-quadratic optimization; needs no data",
          PassKind::kQuantize,
          false,
          {format_parameter("what the linear layers of the blocks are stored in")},
          start_hqq,
          supports_hqq};
}

}  // namespace lathe
