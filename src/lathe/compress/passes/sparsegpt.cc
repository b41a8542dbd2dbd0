// sparsegpt: pruning in which the weights that stay make up for those that go (Frantar and Alistarh
// 2023, "SparseGPT"). A quantizing pass that follows keeps the zeros; `gptq` then makes up for its
// own rounding with the weights that are left.
// joint: the same with quantization in its loop (section 3.5): column by column each weight is
// pruned or rounded, and the later ones make up for both errors at once. Scales are chosen when the
// first column of a group comes, without the weights that go, by least error weighted with the
// inputs' mean squares. The paper chooses them beforehand.
#include "lathe/compress/passes/format_parameter.h"
#include "lathe/compress/passes/group_pass.h"
#include "lathe/compress/passes/list.h"
#include "lathe/compress/passes/sparse.h"
#include "lathe/formats/sparse.h"

namespace lathe {
namespace {

class SparseGptRun : public PassRun {
 public:
  SparseGptRun(ThreadPool& pool, SparsePattern pattern, double damping)
      : pool_(pool), pattern_(pattern), factors_(damping, false) {}

  // Without a format (always so in sparsegpt) the weights that stay are not rounded; float formats
  // are rounded to at the end.
  Status apply(WorkMatrix& matrix, const StepTarget& target) override {
    const SparsePattern pattern = pattern_of(target, pattern_);
    LATHE_OK(check_pattern(pattern, target.sparsity));
    const bool pruning = target.sparsity > 0;
    const bool rounding = target.format && code_encoding(target.format) != Encoding::kFloat;
    std::optional<GroupGrid> grid;
    if (rounding) {
      LATHE_TRY(grid, GroupGrid::create(target.format, matrix.info().rows, matrix.info().cols));
    }
    if (pruning || rounding) {
      LATHE_TRY(const Solution solution,
                solve(matrix, target.sparsity, pattern, grid ? &*grid : nullptr));
      if (pruning) matrix.prune(solution.mask, pool_);
      if (rounding) {
        LATHE_TRY(WeightMatrix stored,
                  grid->encode(matrix.weights(pool_), solution.groups, matrix.info().name, pool_));
        matrix.store(std::move(stored));
      }
    }
    return target.format && !rounding ? matrix.quantize(target.format, pool_) : Status();
  }

 private:
  Result<Solution> solve(WorkMatrix& matrix, double sparsity, const SparsePattern& pattern,
                         const GroupGrid* grid) {
    LATHE_TRY(const auto factor, factors_.of(matrix.shared_stats(), pool_));
    matrix.note_damping(factors_.damping(), factor->damping);
    const float* now = matrix.weights(pool_);
    std::vector<float> weights(now, now + matrix.size());
    SolveTask task;
    std::vector<float> importance;
    if (grid) {
      importance = matrix.stats().mean_square();
      task.grid = grid;
      task.static_groups = false;
      task.importance = importance.data();
    }
    if (sparsity > 0) {
      task.sparsity = sparsity;
      task.pattern = pattern;
    }
    Solution solution =
        solve_columns(*factor, task, matrix.mask(), matrix.info().rows, weights.data(), pool_);
    matrix.replace(std::move(weights));
    return solution;
  }

  ThreadPool& pool_;
  SparsePattern pattern_;
  FactorCache factors_;
};

Result<std::unique_ptr<PassRun>> start(const PassSetup& setup) {
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
          start};
}

Pass joint_pass() {
  return {"joint",
          "sparsegpt with the rounding of gptq in its loop",
          PassKind::kJoint,
          true,
          {sparsity_parameter(), pattern_parameter(), damping_parameter(),
           format_parameter("as of gptq, or a sparse layout of such a format")},
          start,
          supports_groups};
}

}  // namespace lathe
