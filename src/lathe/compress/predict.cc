#include "lathe/compress/predict.h"

#include <algorithm>

#include "lathe/compress/plan.h"
#include "lathe/compress/reshape.h"

namespace lathe {

Result<int64_t> predicted_bytes(const Checkpoint& source, const Recipe& recipe) {
  ThreadPool pool(1);
  LATHE_TRY_IN(const ReshapedSource reshaped, ReshapedSource::preview(source, recipe, pool),
               source.path());
  const Checkpoint& model = reshaped.model();
  LATHE_TRY_IN(const std::vector<MatrixPlan> plans, make_plan(model, recipe), source.path());
  int64_t bytes = 0;
  for (const MatrixPlan& plan : plans) {
    double zeros = 0;
    for (const StepTarget& step : plan.steps) zeros = std::max(zeros, step.sparsity);
    bytes += plan.stored->bytes(plan.info.rows, plan.info.cols, zeros);
  }
  for (const VectorInfo& info : vectors_of(model.config())) {
    if (!info.optional || model.has(info.name)) {
      bytes += info.size * static_cast<int64_t>(sizeof(float));
    }
  }
  return bytes;
}

}  // namespace lathe
