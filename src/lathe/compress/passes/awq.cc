// awq: before rounding, channels with large inputs are scaled up in the weights and down in what
// comes before (Lin et al. 2023, "AWQ: Activation-aware Weight Quantization", section 3.2), so that
// their weights lose less. The model computes the same. The exponent is the one of least error of
// the layer's own output after rounding to nearest; the paper's code compares the output of the
// whole attention for q, k and v.
#include "lathe/compress/passes/awq.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "lathe/compress/passes/list.h"
#include "lathe/compress/work_block.h"
#include "lathe/formats/sparse.h"

namespace lathe {
namespace {

// A channel that was never active stays as it is: nothing says how other text will use it.
std::vector<float> factors_of(const std::vector<float>& activity, double exponent) {
  std::vector<float> factors(activity.size(), 1.0f);
  float least = std::numeric_limits<float>::max(), most = 0;
  for (size_t c = 0; c < activity.size(); ++c) {
    if (activity[c] == 0) continue;
    factors[c] = std::max(1e-4f, static_cast<float>(std::pow(double{activity[c]}, exponent)));
    least = std::min(least, factors[c]);
    most = std::max(most, factors[c]);
  }
  const float middle = most > 0 ? std::sqrt(least) * std::sqrt(most) : 1.0f;
  for (size_t c = 0; c < activity.size(); ++c) {
    if (activity[c] != 0) factors[c] /= middle;
  }
  return factors;
}

// Mean |x| of each channel, over the columns that belong to it.
std::vector<float> activity_of(const LinearStats& stats, const ScaleFold& fold) {
  std::vector<double> sum(static_cast<size_t>(fold.channels)), columns(sum.size());
  for (size_t k = 0; k < fold.channel_of.size(); ++k) {
    const auto channel = static_cast<size_t>(fold.channel_of[k]);
    sum[channel] += stats.absolute[k] / static_cast<double>(std::max<int64_t>(1, stats.tokens));
    columns[channel] += 1;
  }
  std::vector<float> out;
  for (size_t c = 0; c < sum.size(); ++c) {
    out.push_back(static_cast<float>(sum[c] / std::max(1.0, columns[c])));
  }
  return out;
}

class AwqRun : public PassRun {
 public:
  AwqRun(ThreadPool& pool, const nlohmann::json& parameters)
      : pool_(pool),
        steps_(parameters["steps"].get<int>()),
        rows_(parameters["rows"].get<int64_t>()) {}

  Status apply(WorkMatrix&, const StepTarget&) override { return {}; }

  Status transform(WorkBlock& block) override {
    for (const ScaleFold& fold : scale_folds(block.config(), block.layer())) {
      if (!worthwhile(block, fold)) continue;
      LATHE_OK_IN(scale(block, fold), fold.consumers.front());
    }
    return {};
  }

 private:
  // Something is rounded, and nothing is stored in a format that cannot be written anew.
  static bool worthwhile(const WorkBlock& block, const ScaleFold& fold) {
    bool rounded = false;
    for (const std::string& name : fold.consumers) {
      const FormatPtr format = block.stored_as(name);
      if (!format->can_encode()) return false;
      rounded |= code_encoding(format) != Encoding::kFloat;
    }
    return rounded && (fold.producer.empty() || block.stored_as(fold.producer)->can_encode());
  }

  Status scale(WorkBlock& block, const ScaleFold& fold) {
    LATHE_TRY(const auto stats, block.stats(fold.consumers.front()));
    LATHE_TRY(const OutputLoss loss, OutputLoss::create(*stats, pool_));
    std::vector<AwqMatrix> matrices;
    for (const std::string& name : fold.consumers) {
      if (code_encoding(block.stored_as(name)) == Encoding::kFloat) continue;
      LATHE_TRY(std::vector<float> all, block.weights(name, pool_));
      matrices.push_back(sampled(std::move(all), block.info(name), block.stored_as(name)));
    }
    LATHE_TRY(const AwqChoice choice, awq_search(matrices, activity_of(*stats, fold),
                                                 fold.channel_of, loss, steps_, pool_));
    if (choice.exponent == 0) return {};
    return block.apply(fold, choice.factors, pool_);
  }

  // Rows at even distances, where a matrix has more than the search looks at.
  AwqMatrix sampled(std::vector<float> all, const MatrixInfo& info, FormatPtr format) const {
    if (rows_ == 0 || info.rows <= rows_) return {std::move(all), info.rows, std::move(format)};
    AwqMatrix out{{}, rows_, std::move(format)};
    for (int64_t i = 0; i < rows_; ++i) {
      const float* row = all.data() + i * info.rows / rows_ * info.cols;
      out.weights.insert(out.weights.end(), row, row + info.cols);
    }
    return out;
  }

  ThreadPool& pool_;
  int steps_;
  int64_t rows_;
};

template <int64_t kLeast, int64_t kMost>
Result<nlohmann::json> check_count(const nlohmann::json& value) {
  if (value.is_number_integer() && value.get<int64_t>() >= kLeast &&
      value.get<int64_t>() <= kMost) {
    return value;
  }
  return bad_input("must be a whole number from {} to {}, not {}", kLeast, kMost, value.dump());
}

Result<std::unique_ptr<PassRun>> start_awq(const PassSetup& setup) {
  return std::unique_ptr<PassRun>(std::make_unique<AwqRun>(setup.pool, setup.parameters));
}

}  // namespace

Result<AwqChoice> awq_search(const std::vector<AwqMatrix>& matrices,
                             const std::vector<float>& activity,
                             const std::vector<int32_t>& channel_of, const OutputLoss& loss,
                             int steps, ThreadPool& pool) {
  const auto cols = static_cast<int64_t>(channel_of.size());
  AwqChoice best;
  for (int step = 0; step < steps; ++step) {
    const double exponent = static_cast<double>(step) / steps;
    const std::vector<float> factors = factors_of(activity, exponent);
    double total = 0;
    for (const AwqMatrix& matrix : matrices) {
      std::vector<float> w = matrix.weights;
      for (size_t i = 0; i < w.size(); ++i) {
        w[i] *= factors[size_t(channel_of[i % size_t(cols)])];
      }
      LATHE_TRY(const WeightMatrix rounded,
                WeightMatrix::encode(matrix.format, w.data(), matrix.rows, cols, "scaled", &pool));
      w = rounded.decode(pool);
      for (size_t i = 0; i < w.size(); ++i) {
        w[i] = w[i] / factors[size_t(channel_of[i % size_t(cols)])] - matrix.weights[i];
      }
      total += loss(w.data(), matrix.rows);
    }
    if (step == 0) best.plain_loss = total;
    if (step == 0 || total < best.loss) {
      best.exponent = exponent;
      best.factors = factors;
      best.loss = total;
    }
  }
  return best;
}

Pass awq_pass() {
  return {
      "awq",
      "scales channels by their inputs before rounding, and undoes it in what comes before",
      PassKind::kTransform,
      true,
      {{"steps", 20, "exponents that are tried, from 0 up to 1", check_count<2, 100>},
       {"rows", 512, "of each matrix, that the search looks at; 0: all", check_count<0, 1 << 20>}},
      start_awq};
}

}  // namespace lathe
