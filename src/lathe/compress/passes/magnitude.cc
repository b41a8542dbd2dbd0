// magnitude: the smallest weights become exactly zero (Han et al. 2015, "Learning both Weights and
// Connections"). In each row or matrix by itself, under one threshold for all of them, or of each M
// neighbours in a row.
#include <cmath>

#include "lathe/compress/passes/list.h"
#include "lathe/compress/passes/sparse.h"
#include "lathe/compress/recipe.h"
#include "lathe/compress/select.h"

namespace lathe {
namespace {

int64_t pruned_count(double sparsity, int64_t weights) {
  return std::llround(sparsity * static_cast<double>(weights));
}

class MagnitudeRun : public PassRun {
 public:
  MagnitudeRun(ThreadPool& pool, std::optional<Cut> global, bool by_row, SparsePattern pattern)
      : pool_(pool), global_(global), by_row_(by_row), pattern_(pattern) {}

  Status apply(WorkMatrix& matrix, const StepTarget& target) override {
    std::vector<uint8_t> mask;
    const SparsePattern pattern = pattern_of(target, pattern_);
    LATHE_OK(check_pattern(pattern, target.sparsity));
    if (target.sparsity > 0 && (by_row_ || pattern.of > 0)) {
      mask = row_mask(matrix, target.sparsity, pattern);
    } else if (global_ && !target.own_sparsity) {
      apply_cut(matrix.weights(pool_), matrix.size(), *global_, mask, pool_);
    } else {
      const int64_t count = pruned_count(target.sparsity, matrix.size());
      if (count == 0) return {};
      MagnitudeSelector selector;
      selector.add(matrix.weights(pool_), matrix.size(), pool_);
      selector.narrow(count);
      selector.add(matrix.weights(pool_), matrix.size(), pool_);
      Cut cut = selector.cut();
      apply_cut(matrix.weights(pool_), matrix.size(), cut, mask, pool_);
    }
    matrix.prune(mask, pool_);
    return {};
  }

 private:
  std::vector<uint8_t> row_mask(WorkMatrix& matrix, double sparsity, const SparsePattern& pattern) {
    const float* weights = matrix.weights(pool_);
    std::vector<float> sizes(static_cast<size_t>(matrix.size()));
    pool_.parallel_for(matrix.size(), 4096, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) sizes[static_cast<size_t>(i)] = std::fabs(weights[i]);
    });
    return mask_by_row(sizes.data(), matrix.info().rows, matrix.info().cols, sparsity, pattern,
                       pool_);
  }

  ThreadPool& pool_;
  std::optional<Cut> global_;
  bool by_row_;
  SparsePattern pattern_;
};

// The threshold over all matrices that no override takes out, in two sweeps over the model.
Result<std::optional<Cut>> global_cut(const PassSetup& setup) {
  MagnitudeSelector selector;
  double sparsity = 0;
  const auto add = [&](WorkMatrix& matrix, const StepTarget& target) -> Status {
    if (target.own_sparsity) return {};
    sparsity = target.sparsity;
    selector.add(matrix.weights(setup.pool), matrix.size(), setup.pool);
    return {};
  };
  LATHE_OK(setup.sweep(add));
  const int64_t count = pruned_count(sparsity, selector.seen());
  if (count == 0) return std::optional<Cut>();
  selector.narrow(count);
  LATHE_OK(setup.sweep(add));
  return std::optional<Cut>(selector.cut());
}

Result<std::unique_ptr<PassRun>> start_magnitude(const PassSetup& setup) {
  std::optional<Cut> cut;
  LATHE_TRY(const SparsePattern pattern, parse_pattern(setup.parameters["pattern"]));
  const bool global = setup.parameters["scope"] == "global";
  if (global && pattern.of > 0) {
    return bad_input("magnitude: a pattern has no global threshold").with_hint("leave scope out");
  }
  if (global) {
    LATHE_TRY(cut, global_cut(setup));
  }
  return std::unique_ptr<PassRun>(
      std::make_unique<MagnitudeRun>(setup.pool, cut, setup.parameters["scope"] == "row", pattern));
}

Result<nlohmann::json> check_scope(const nlohmann::json& value) {
  if (value == "row" || value == "matrix" || value == "global") return value;
  return bad_input("must be row, matrix or global, not {}", value.dump());
}

Result<nlohmann::json> check_include(const nlohmann::json& value) {
  const nlohmann::json list = value.is_string() ? nlohmann::json::array({value}) : value;
  if (!list.is_array()) return bad_input("must be a list of names, not {}", value.dump());
  for (const auto& item : list) {
    if (!item.is_string() || item.get<std::string>().empty()) {
      return bad_input("must be a list of names; found {}", item.dump());
    }
  }
  return list;
}

}  // namespace

Pass magnitude_pass() {
  return {"magnitude",
          "pruning: the smallest weights become exactly zero",
          PassKind::kPrune,
          false,
          {sparsity_parameter(),
           {"scope", "matrix",
            "row, matrix: that share of each row or matrix; global: of all of them together",
            check_scope},
           pattern_parameter(),
           {"include", nlohmann::json::array(),
            "matrices outside of the blocks that are pruned as well (lm_head, model.embed_tokens)",
            check_include}},
          start_magnitude};
}

}  // namespace lathe
