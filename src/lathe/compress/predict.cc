#include "lathe/compress/predict.h"

#include <algorithm>

#include "lathe/base/memory.h"
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

Status check_memory(const Checkpoint& source, const std::vector<MatrixPlan>& plans) {
  int64_t needed = 0;
  std::string largest;
  for (const MatrixPlan& plan : plans) {
    const int64_t rows = plan.info.rows, cols = plan.info.cols;
    const bool worked_on = std::any_of(plan.steps.begin(), plan.steps.end(),
                                       [](const StepTarget& step) { return step.applies; });
    const int64_t floats = worked_on ? 2 * rows * cols * static_cast<int64_t>(sizeof(float)) : 0;
    const int64_t bytes = floats + plan.stored->bytes(rows, cols);
    if (bytes <= needed) continue;
    needed = bytes;
    largest = plan.info.name;
  }
  const int64_t available = available_memory_bytes();
  if (needed <= available) return {};
  return no_room("{}: matrix '{}' needs {} MB to work on, {} MB are free", source.path(), largest,
                 needed >> 20, available >> 20)
      .with_hint("free some memory; one matrix at a time is the least that can be held");
}

}  // namespace lathe
