// smoothquant: the range of each channel is moved from the activations into the weights that read
// them, by max|x|^α / max|w|^(1 − α) (Xiao et al. 2022, "SmoothQuant", equation 4), so that both
// round to 8 bits alike. Between a norm and its linear layers, as in the paper. The model computes
// the same.
#include <algorithm>
#include <cmath>

#include "lathe/compress/passes/list.h"
#include "lathe/compress/work_block.h"

namespace lathe {
namespace {

class SmoothQuantRun : public PassRun {
 public:
  SmoothQuantRun(ThreadPool& pool, double alpha) : pool_(pool), alpha_(alpha) {}

  Status apply(WorkMatrix&, const StepTarget&) override { return {}; }

  Status transform(WorkBlock& block) override {
    for (const ScaleFold& fold : scale_folds(block.config(), block.layer())) {
      const bool writable =
          std::all_of(fold.consumers.begin(), fold.consumers.end(),
                      [&](const std::string& name) { return block.stored_as(name)->can_encode(); });
      if (fold.norm.empty() || !writable) continue;
      LATHE_OK_IN(smooth(block, fold), fold.consumers.front());
    }
    return {};
  }

 private:
  Status smooth(WorkBlock& block, const ScaleFold& fold) const {
    LATHE_TRY(const auto stats, block.stats(fold.consumers.front()));
    LATHE_OK(stats->check_finite());
    std::vector<float> weights(static_cast<size_t>(fold.channels));
    for (const std::string& name : fold.consumers) {
      LATHE_TRY(const std::vector<float> all, block.weights(name, pool_));
      for (size_t i = 0; i < all.size(); ++i) {
        float& most = weights[i % weights.size()];
        most = std::max(most, std::fabs(all[i]));
      }
    }
    // A channel that was never active, or that nothing reads, stays as it is.
    std::vector<float> factors(weights.size(), 1.0f);
    for (size_t c = 0; c < factors.size(); ++c) {
      const double x = stats->largest[c], w = weights[c];
      if (x == 0 || w == 0) continue;
      factors[c] =
          static_cast<float>(std::max(1e-5, std::pow(x, alpha_) / std::pow(w, 1 - alpha_)));
    }
    return block.apply(fold, factors, pool_);
  }

  ThreadPool& pool_;
  double alpha_;
};

Result<std::unique_ptr<PassRun>> start_smoothquant(const PassSetup& setup) {
  return std::unique_ptr<PassRun>(
      std::make_unique<SmoothQuantRun>(setup.pool, setup.parameters["alpha"].get<double>()));
}

Result<nlohmann::json> check_alpha(const nlohmann::json& value) {
  if (value.is_number() && value.get<double>() >= 0 && value.get<double>() <= 1) {
    return nlohmann::json(value.get<double>());
  }
  return bad_input("must be a number from 0 to 1, not {}", value.dump());
}

}  // namespace

Pass smoothquant_pass() {
  return {"smoothquant",
          "moves the range of each channel from the activations into the weights",
          PassKind::kTransform,
          true,
          {{"alpha", 0.5, "how much of it, from 0 (none) to 1 (all)", check_alpha}},
          start_smoothquant};
}

}  // namespace lathe
