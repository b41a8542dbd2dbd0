// sparsegpt: pruning in which the weights that stay make up for those that go (Frantar and Alistarh
// 2023, "SparseGPT"). A quantizing pass that follows keeps the zeros; `gptq` then makes up for its
// own rounding with the weights that are left.
#include "lathe/compress/passes/list.h"
#include "lathe/compress/passes/sparse.h"
#include "lathe/compress/recipe.h"

namespace lathe {
namespace {

class SparseGptRun : public PassRun {
 public:
  SparseGptRun(ThreadPool& pool, SparsePattern pattern, double damping)
      : pool_(pool), pattern_(pattern), damping_(damping) {}

  Status apply(WorkMatrix& matrix, const StepTarget& target) override {
    LATHE_OK(check_pattern(pattern_, target.sparsity));
    if (target.sparsity == 0) return {};
    LATHE_TRY(const InverseFactor factor, inverse_factor(matrix.stats(), damping_, false, pool_));
    matrix.note_damping(damping_, factor.damping);
    const float* now = matrix.weights(pool_);
    std::vector<float> weights(now, now + matrix.size());
    SolveTask task;
    task.sparsity = target.sparsity;
    task.pattern = pattern_;
    const Solution solution =
        solve_columns(factor, task, matrix.mask(), matrix.info().rows, weights.data(), pool_);
    matrix.replace(std::move(weights));
    matrix.prune(solution.mask, pool_);
    return {};
  }

 private:
  ThreadPool& pool_;
  SparsePattern pattern_;
  double damping_;
};

Result<std::unique_ptr<PassRun>> start_sparsegpt(const PassSetup& setup) {
  LATHE_TRY(const SparsePattern pattern, parse_pattern(setup.parameters["pattern"]));
  return std::unique_ptr<PassRun>(std::make_unique<SparseGptRun>(
      setup.pool, pattern, setup.parameters["damping"].get<double>()));
}

}  // namespace

Pass sparsegpt_pass() {
  return {"sparsegpt",
          "pruning by least squares: the weights that stay make up for those that go",
          PassKind::kPrune,
          true,
          {sparsity_parameter(), pattern_parameter(), damping_parameter()},
          start_sparsegpt};
}

}  // namespace lathe
