// gptq: rounding column by column, in which the later columns make up for the error of the earlier
// ones (Frantar et al. 2022, "GPTQ"), onto any format with one scale per group, NF4 included.
// Differences from the paper: scales are chosen by least error weighted with the inputs' mean
// squares (`scales: search`; `minmax` is the paper's), and before any column is rounded
// (`static_groups`), so that columns may come in the order of their importance (`act_order`)
// without an index per column in the file.
#include "lathe/compress/passes/format_parameter.h"
#include "lathe/compress/passes/list.h"
#include "lathe/compress/passes/sparse.h"
#include "lathe/formats/sparse.h"

namespace lathe {
namespace {

class GptqRun : public PassRun {
 public:
  GptqRun(ThreadPool& pool, const nlohmann::json& parameters)
      : pool_(pool),
        factors_(parameters["damping"].get<double>(), parameters["act_order"].get<bool>()),
        static_groups_(parameters["static_groups"].get<bool>()),
        search_(parameters["scales"] == "search") {}

  Status apply(WorkMatrix& matrix, const StepTarget& target) override {
    const int64_t rows = matrix.info().rows, cols = matrix.info().cols;
    if (code_encoding(target.format) == Encoding::kFloat) {
      return matrix.quantize(target.format, pool_);
    }
    LATHE_TRY(const GroupGrid grid, GroupGrid::create(target.format, rows, cols));
    LATHE_TRY(const auto factor, factors_.of(matrix.shared_stats(), pool_));
    matrix.note_damping(factors_.damping(), factor->damping);
    const std::vector<float> importance = matrix.stats().mean_square();
    const float* now = matrix.weights(pool_);
    std::vector<float> weights(now, now + matrix.size());
    SolveTask task;
    task.grid = &grid;
    task.static_groups = static_groups_;
    task.importance = search_ ? importance.data() : nullptr;
    const Solution solution =
        solve_columns(*factor, task, matrix.mask(), rows, weights.data(), pool_);
    LATHE_TRY(WeightMatrix stored,
              grid.encode(weights.data(), solution.groups, matrix.info().name, pool_));
    matrix.store(std::move(stored));
    return {};
  }

 private:
  ThreadPool& pool_;
  FactorCache factors_;
  bool static_groups_, search_;
};

Result<nlohmann::json> check_scales(const nlohmann::json& value) {
  if (value == "search" || value == "minmax") return value;
  return bad_input("must be search or minmax, not {}", value.dump());
}

Result<nlohmann::json> check_damping(const nlohmann::json& value) {
  if (value.is_number() && value.get<double>() > 0 && value.get<double>() <= 1) {
    return nlohmann::json(value.get<double>());
  }
  return bad_input("must be a number above 0, up to 1, not {}", value.dump());
}

Result<std::unique_ptr<PassRun>> start_gptq(const PassSetup& setup) {
  if (setup.parameters["act_order"].get<bool>() && !setup.parameters["static_groups"].get<bool>()) {
    return bad_input("gptq: act_order needs static_groups: the formats hold no index of columns");
  }
  return std::unique_ptr<PassRun>(std::make_unique<GptqRun>(setup.pool, setup.parameters));
}

// Float formats are only rounded to.
Status supports_gptq(const FormatPtr& format, int64_t rows, int64_t cols) {
  if (code_encoding(format) == Encoding::kFloat) return {};
  LATHE_OK_IN(GroupGrid::create(format, rows, cols), "gptq");
  return {};
}

}  // namespace

PassParameter damping_parameter() {
  return {"damping", 0.01, "added to the diagonal of XᵀX, as a share of its mean", check_damping};
}

Pass gptq_pass() {
  return {"gptq",
          "rounding in which the later columns make up for the errors of the earlier ones",
          PassKind::kQuantize,
          true,
          {format_parameter("what the linear layers of the blocks are stored in: int2, int3, int4, "
                            "int8, ternary, nf4, fp4"),
           damping_parameter(),
           {"act_order", true, "columns by falling importance", check_flag},
           {"static_groups", true, "all scales are chosen before the first column is rounded",
            check_flag},
           {"scales", "search", "search: least weighted error; minmax: the format's own",
            check_scales}},
          start_gptq,
          supports_gptq};
}

}  // namespace lathe
