// clip: round to nearest with the scale of every group (and its zero point) chosen for the least
// error of the layer's output, each group for itself: the search for clipping of AWQ (Lin et al.
// 2023), but that scales may also grow, both signs are tried and each is fitted by least squares.
#include "lathe/compress/passes/format_parameter.h"
#include "lathe/compress/passes/group_pass.h"
#include "lathe/compress/passes/list.h"

namespace lathe {
namespace {

class ClipRun : public PassRun {
 public:
  explicit ClipRun(ThreadPool& pool) : pool_(pool) {}

  Status apply(WorkMatrix& matrix, const StepTarget& target) override {
    LATHE_OK(matrix.stats().check_finite());
    const std::vector<float> importance = matrix.stats().mean_square();
    const std::vector<float> gram = matrix.stats().mean_gram();
    const int64_t cols = matrix.info().cols;
    return round_groups(matrix, target.format, pool_,
                        [&](const GroupGrid& grid, const float* x, int64_t begin, int64_t count) {
                          const FitWeight weight{importance.data() + begin,
                                                 gram.data() + begin * cols + begin, cols};
                          return grid.fit(x, weight, count);
                        });
  }

 private:
  ThreadPool& pool_;
};

Result<std::unique_ptr<PassRun>> start_clip(const PassSetup& setup) {
  return std::unique_ptr<PassRun>(std::make_unique<ClipRun>(setup.pool));
}

}  // namespace

Pass clip_pass() {
  return {"clip",
          "round to nearest with the scales of least output error, group by group",
          PassKind::kQuantize,
          true,
          {format_parameter("what the linear layers of the blocks are stored in")},
          start_clip,
          supports_groups};
}

}  // namespace lathe
