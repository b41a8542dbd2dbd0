// wanda: in each row the weights of least |w| · ‖x‖ become zero, ‖x‖ being the norm of the input
// column over the calibration data (Sun et al. 2023, "A Simple and Effective Pruning Approach for
// Large Language Models").
#include <cmath>

#include "lathe/compress/passes/list.h"
#include "lathe/compress/passes/sparse.h"

namespace lathe {
namespace {

class WandaRun : public PassRun {
 public:
  WandaRun(ThreadPool& pool, SparsePattern pattern) : pool_(pool), pattern_(pattern) {}

  Status apply(WorkMatrix& matrix, const StepTarget& target) override {
    const SparsePattern pattern = pattern_of(target, pattern_);
    LATHE_OK(check_pattern(pattern, target.sparsity));
    if (target.sparsity == 0) return {};
    const int64_t rows = matrix.info().rows, cols = matrix.info().cols;
    const std::vector<float> importance = matrix.stats().mean_square();
    const float* weights = matrix.weights(pool_);
    std::vector<float> scores(static_cast<size_t>(rows * cols));
    pool_.parallel_for(rows, 4, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin * cols; i < end * cols; ++i) {
        scores[size_t(i)] = std::fabs(weights[i]) * std::sqrt(importance[size_t(i % cols)]);
      }
    });
    matrix.prune(mask_by_row(scores.data(), rows, cols, target.sparsity, pattern, pool_), pool_);
    return {};
  }

 private:
  ThreadPool& pool_;
  SparsePattern pattern_;
};

Result<std::unique_ptr<PassRun>> start_wanda(const PassSetup& setup) {
  LATHE_TRY(const SparsePattern pattern, parse_pattern(setup.parameters["pattern"]));
  return std::unique_ptr<PassRun>(std::make_unique<WandaRun>(setup.pool, pattern));
}

}  // namespace

Pass wanda_pass() {
  return {"wanda",
          "pruning by |w| times the norm of its input, row by row",
          PassKind::kPrune,
          true,
          {sparsity_parameter(), pattern_parameter()},
          start_wanda,
          nullptr,
          nullptr,
          true};
}

}  // namespace lathe
