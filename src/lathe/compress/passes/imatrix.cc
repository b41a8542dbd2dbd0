// imatrix: ggml's block types with scales that are searched for the least squared error, in which
// each column counts by the mean square of its input (llama.cpp's "importance matrix"; for one row
// that is the diagonal of GPTQ's XᵀX). Differs from llama.cpp: no factor √(σ² + w²) for each
// weight, and the search is our own (formats/gguf_search.h).
#include "lathe/compress/passes/format_parameter.h"
#include "lathe/compress/passes/list.h"
#include "lathe/formats/gguf_types.h"
#include "lathe/formats/sparse.h"

namespace lathe {
namespace {

class ImatrixRun : public PassRun {
 public:
  explicit ImatrixRun(ThreadPool& pool) : pool_(pool) {}

  Status apply(WorkMatrix& matrix, const StepTarget& target) override {
    if (code_encoding(target.format) == Encoding::kFloat)
      return matrix.quantize(target.format, pool_);
    const std::vector<float> importance = matrix.stats().mean_square();
    LATHE_TRY(WeightMatrix stored,
              encode_weighted(target.format, matrix.weights(pool_), matrix.info().rows,
                              matrix.info().cols, importance.data(), matrix.info().name, pool_));
    matrix.store(std::move(stored));
    return {};
  }

 private:
  ThreadPool& pool_;
};

Result<std::unique_ptr<PassRun>> start_imatrix(const PassSetup& setup) {
  return std::unique_ptr<PassRun>(std::make_unique<ImatrixRun>(setup.pool));
}

Status supports_imatrix(const FormatPtr& format, int64_t /*rows*/, int64_t /*cols*/) {
  if (code_encoding(format) == Encoding::kFloat || code_encoding(format) == Encoding::kGguf)
    return {};
  return unsupported("imatrix: format {} is not one of the ggml block types", format->spec())
      .with_hint("use q4_k or another of them, or method gptq for this format");
}

}  // namespace

Pass imatrix_pass() {
  return {"imatrix",
          "ggml block types whose scales are searched for the least error weighted by the inputs",
          PassKind::kQuantize,
          true,
          {format_parameter(
              "what the linear layers of the blocks are stored in: q2_k to q6_k, q4_0 …, iq4_nl")},
          start_imatrix,
          supports_imatrix,
          nullptr,
          true};
}

}  // namespace lathe
