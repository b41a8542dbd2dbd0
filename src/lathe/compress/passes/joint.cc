// joint: SparseGPT with quantization in its loop (Frantar and Alistarh 2023, section 3.5): column
// by column each weight is pruned or rounded, and the later ones make up for both errors at once.
// Scales are chosen when the first column of a group comes, without the weights that go, by least
// error weighted with the inputs' mean squares. The paper chooses them beforehand.
#include "lathe/compress/passes/format_parameter.h"
#include "lathe/compress/passes/group_pass.h"
#include "lathe/compress/passes/list.h"
#include "lathe/compress/passes/sparse.h"
#include "lathe/formats/sparse.h"

namespace lathe {
namespace {

class JointRun : public PassRun {
 public:
  JointRun(ThreadPool& pool, SparsePattern pattern, double damping)
      : pool_(pool), pattern_(pattern), damping_(damping) {}

  Status apply(WorkMatrix& matrix, const StepTarget& target) override {
    LATHE_OK(check_pattern(pattern_, target.sparsity));
    const int64_t rows = matrix.info().rows, cols = matrix.info().cols;
    const bool rounds = target.format && code_encoding(target.format) != Encoding::kFloat;
    LATHE_TRY(const InverseFactor factor, inverse_factor(matrix.stats(), damping_, false, pool_));
    matrix.note_damping(damping_, factor.damping);
    const std::vector<float> importance = matrix.stats().mean_square();
    const float* now = matrix.weights(pool_);
    std::vector<float> weights(now, now + matrix.size());
    SolveTask task;
    std::optional<GroupGrid> grid;
    if (rounds) {
      LATHE_TRY(grid, GroupGrid::create(target.format, rows, cols));
      task.grid = &*grid;
      task.static_groups = false;
      task.importance = importance.data();
    }
    task.sparsity = target.sparsity;
    task.pattern = target.sparsity > 0 ? pattern_ : SparsePattern{};
    const Solution solution =
        solve_columns(factor, task, matrix.mask(), rows, weights.data(), pool_);
    matrix.replace(std::move(weights));
    if (target.sparsity > 0) matrix.prune(solution.mask, pool_);
    if (!rounds) return target.format ? matrix.quantize(target.format, pool_) : Status();
    LATHE_TRY(WeightMatrix stored,
              grid->encode(matrix.weights(pool_), solution.groups, matrix.info().name, pool_));
    matrix.store(std::move(stored));
    return {};
  }

 private:
  ThreadPool& pool_;
  SparsePattern pattern_;
  double damping_;
};

Result<std::unique_ptr<PassRun>> start_joint(const PassSetup& setup) {
  LATHE_TRY(const SparsePattern pattern, parse_pattern(setup.parameters["pattern"]));
  return std::unique_ptr<PassRun>(
      std::make_unique<JointRun>(setup.pool, pattern, setup.parameters["damping"].get<double>()));
}

}  // namespace

Pass joint_pass() {
  return {"joint",
          "sparsegpt with the rounding of gptq in its loop",
          PassKind::kJoint,
          true,
          {sparsity_parameter(), pattern_parameter(), damping_parameter(),
           format_parameter("as of gptq, or a sparse layout of such a format")},
          start_joint,
          supports_groups};
}

}  // namespace lathe
