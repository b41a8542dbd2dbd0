// magnitude: the smallest weights become exactly zero, unstructured (Han et al. 2015, "Learning
// both Weights and Connections"). In each matrix by itself, or under one threshold for all of them.
#include <cmath>

#include "lathe/compress/passes/list.h"
#include "lathe/compress/recipe.h"
#include "lathe/compress/select.h"

namespace lathe {
namespace {

int64_t pruned_count(double sparsity, int64_t weights) {
  return std::llround(sparsity * static_cast<double>(weights));
}

class MagnitudeRun : public PassRun {
 public:
  MagnitudeRun(ThreadPool& pool, std::optional<Cut> global) : pool_(pool), global_(global) {}

  Status apply(WorkMatrix& matrix, const StepTarget& target) override {
    std::vector<uint8_t> mask;
    if (global_ && !target.own_sparsity) {
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
  ThreadPool& pool_;
  std::optional<Cut> global_;
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
  if (setup.parameters["scope"] == "global") {
    LATHE_TRY(cut, global_cut(setup));
  }
  return std::unique_ptr<PassRun>(std::make_unique<MagnitudeRun>(setup.pool, cut));
}

Result<nlohmann::json> check_sparsity(const nlohmann::json& value) {
  LATHE_TRY(const double sparsity, sparsity_from_json(value));
  return nlohmann::json(sparsity);
}

Result<nlohmann::json> check_scope(const nlohmann::json& value) {
  if (value == "matrix" || value == "global") return value;
  return bad_input("must be matrix or global, not {}", value.dump());
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
          "unstructured pruning: the smallest weights become exactly zero",
          PassKind::kPrune,
          false,
          {{"sparsity", nlohmann::json(nlohmann::json::value_t::discarded),
            "the share of the weights that becomes zero, 0 to 0.95", check_sparsity},
           {"scope", "matrix", "matrix: that share of each matrix; global: of all of them together",
            check_scope},
           {"include", nlohmann::json::array(),
            "matrices outside of the blocks that are pruned as well (lm_head, model.embed_tokens)",
            check_include}},
          start_magnitude};
}

}  // namespace lathe
