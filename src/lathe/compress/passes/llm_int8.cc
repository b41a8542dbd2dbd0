// llm_int8: 8-bit rows beside the columns that meet large inputs, in 16 bits (Dettmers et al. 2022,
// "LLM.int8()", section 3.2). Differs from the paper: the columns are those whose input reaches the
// threshold anywhere in the calibration text, for good, not those of the batch at hand; 16 bits are
// bf16; and the inputs are not rounded: the format is decoded as it is used.
#include "lathe/compress/passes/format_parameter.h"
#include "lathe/compress/passes/list.h"
#include "lathe/formats/outliers.h"

namespace lathe {
namespace {

Result<nlohmann::json> check_threshold(const nlohmann::json& value) {
  if (value.is_number() && value.get<double>() > 0) return nlohmann::json(value.get<double>());
  return bad_input("must be a number above 0, not {}", value.dump());
}

class LlmInt8Run : public PassRun {
 public:
  LlmInt8Run(double threshold, ThreadPool& pool) : threshold_(threshold), pool_(pool) {}

  Status apply(WorkMatrix& matrix, const StepTarget& target) override {
    if (target.format->encoding() == Encoding::kFloat) {
      return matrix.quantize(target.format, pool_);
    }
    const LinearStats& stats = matrix.stats();
    LATHE_OK(stats.check_finite());
    std::vector<int32_t> columns;
    for (size_t k = 0; k < stats.largest.size(); ++k) {
      if (static_cast<double>(stats.largest[k]) >= threshold_) {
        columns.push_back(static_cast<int32_t>(k));
      }
    }
    const MatrixInfo& info = matrix.info();
    LATHE_TRY(WeightMatrix stored, encode_outliers(target.format, matrix.weights(pool_), info.rows,
                                                   info.cols, columns, info.name));
    matrix.store(std::move(stored));
    return {};
  }

 private:
  double threshold_;
  ThreadPool& pool_;
};

Result<std::unique_ptr<PassRun>> start_llm_int8(const PassSetup& setup) {
  return std::unique_ptr<PassRun>(
      std::make_unique<LlmInt8Run>(setup.parameters["threshold"].get<double>(), setup.pool));
}

Status supports_llm_int8(const FormatPtr& format, int64_t /*rows*/, int64_t /*cols*/) {
  if (format->encoding() == Encoding::kFloat || format->encoding() == Encoding::kInt8Outliers) {
    return {};
  }
  return unsupported("llm_int8: format {} has no place for outliers", format->spec())
      .with_hint("use int8:row,outliers");
}

}  // namespace

Pass llm_int8_pass() {
  return {"llm_int8",
          "8-bit rows, and in 16 bits the columns whose inputs reach a threshold (LLM.int8)",
          PassKind::kQuantize,
          true,
          {format_parameter("int8:row,outliers"),
           {"threshold", 6.0, "magnitude of an input from which on its column stays in 16 bits",
            check_threshold}},
          start_llm_int8,
          supports_llm_int8};
}

}  // namespace lathe
