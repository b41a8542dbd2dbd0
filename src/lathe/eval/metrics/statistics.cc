#include "lathe/eval/metrics/statistics.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "lathe/base/check.h"
#include "lathe/base/rng.h"

namespace lathe {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kNormalQuantile = 1.959963984540054;  // of (1 + kConfidence) / 2
constexpr double kPowerQuantile = 0.8416212335729143;  // of kPower

// The generator of one resample. The odd multiplier spreads (seed, r) over all seeds, so that
// neighbouring seeds do not share resamples.
Rng rng_of_resample(uint64_t seed, int r) {
  return Rng(seed * 0xd1342543de82ef95u + static_cast<uint64_t>(r) * 0x9e6c63d0876a9a35u);
}

Interval interval_of(std::vector<double> values) {
  std::ranges::sort(values);
  const double tail = (1 - kConfidence) / 2;
  return {quantile_of_sorted(values, tail), quantile_of_sorted(values, 1 - tail)};
}

// Values of `statistic(rng)` for each resample. The templates keep the inner loop free of calls.
template <typename Statistic>
std::vector<double> resampled(int resamples, uint64_t seed, Statistic statistic) {
  LATHE_CHECK(resamples > 0);
  std::vector<double> values(static_cast<size_t>(resamples));
  for (int r = 0; r < resamples; ++r) {
    Rng rng = rng_of_resample(seed, r);
    values[static_cast<size_t>(r)] = statistic(rng);
  }
  return values;
}

template <typename Statistic>
Interval resample(int64_t n, int resamples, uint64_t seed, Statistic statistic) {
  LATHE_CHECK(n > 0);
  if (n == 1) return {kNaN, kNaN};
  return interval_of(resampled(resamples, seed, statistic));
}

double p_value_of(const std::vector<double>& differences) {
  int64_t below = 0, above = 0;
  for (const double d : differences) {
    below += d <= 0 ? 1 : 0;
    above += d >= 0 ? 1 : 0;
  }
  const auto tail = static_cast<double>(1 + std::min(below, above));
  return std::min(1.0, 2 * tail / static_cast<double>(differences.size() + 1));
}

double deviation_of(const std::vector<double>& values) {
  const double middle = mean(values);
  double squares = 0;
  for (const double v : values) squares += (v - middle) * (v - middle);
  return std::sqrt(squares / static_cast<double>(std::max<size_t>(1, values.size() - 1)));
}

// The paired comparison of resampled differences; `delta` is that of the whole sample.
template <typename Statistic>
PairedDelta compare(int64_t n, double delta, bool higher_is_better, double margin, uint64_t seed,
                    int resamples, Statistic statistic) {
  if (n == 1) return {delta, kNaN, kNaN, "undecided", kNaN, kNaN};
  std::vector<double> values = resampled(resamples, seed, statistic);
  const double p = p_value_of(values), error = deviation_of(values);
  const Interval interval = interval_of(std::move(values));
  return {delta, interval.low, interval.high, decide(false, interval, higher_is_better, margin),
          p,     error};
}

double sum(std::span<const double> values) {
  double total = 0;
  for (const double v : values) total += v;
  return total;
}

double draw_mean(std::span<const double> scores, Rng& rng) {
  double total = 0;
  for (size_t i = 0; i < scores.size(); ++i) total += scores[rng.below(scores.size())];
  return total / static_cast<double>(scores.size());
}

struct Ratios {
  double baseline, variant;
};

Ratios draw_ratios(std::span<const double> baseline, std::span<const double> variant,
                   std::span<const double> denominators, Rng& rng) {
  double b = 0, v = 0, d = 0;
  for (size_t i = 0; i < denominators.size(); ++i) {
    const size_t at = rng.below(denominators.size());
    b += baseline[at];
    v += variant[at];
    d += denominators[at];
  }
  return {b / d, v / d};
}

void check_ratio(std::span<const double> numerators, std::span<const double> denominators) {
  LATHE_CHECK(!numerators.empty() && numerators.size() == denominators.size());
  LATHE_CHECK(std::ranges::all_of(denominators, [](double d) { return d > 0; }));
}

}  // namespace

std::string decide(bool identical, Interval interval, bool higher_is_better, double margin) {
  if (identical) return "=";
  if (!interval.known()) return "undecided";
  if (margin > 0 && interval.low >= -margin && interval.high <= margin) return "=";
  if (interval.low > 0) return higher_is_better ? "better" : "worse";
  if (interval.high < 0) return higher_is_better ? "worse" : "better";
  return "undecided";
}

double quantile_of_sorted(std::span<const double> sorted, double q) {
  LATHE_CHECK(!sorted.empty() && q >= 0 && q <= 1);
  const double position = q * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(position);
  if (below + 1 == sorted.size()) return sorted.back();
  const double t = position - static_cast<double>(below);
  return sorted[below] + (sorted[below + 1] - sorted[below]) * t;
}

Interval bootstrap(int64_t n, const ResampledStatistic& statistic, uint64_t seed, int resamples) {
  std::vector<int64_t> indices(static_cast<size_t>(n));
  return resample(n, resamples, seed, [&](Rng& rng) {
    for (auto& i : indices) i = static_cast<int64_t>(rng.below(static_cast<uint64_t>(n)));
    return statistic(indices);
  });
}

double mean(std::span<const double> scores) {
  LATHE_CHECK(!scores.empty());
  return sum(scores) / static_cast<double>(scores.size());
}

Interval bootstrap_mean(std::span<const double> scores, uint64_t seed, int resamples) {
  return resample(std::ssize(scores), resamples, seed,
                  [&](Rng& rng) { return draw_mean(scores, rng); });
}

PairedDelta paired_bootstrap(std::span<const double> baseline, std::span<const double> variant,
                             bool higher_is_better, double margin, uint64_t seed, int resamples) {
  LATHE_CHECK(!baseline.empty() && baseline.size() == variant.size());
  std::vector<double> differences(baseline.size());
  for (size_t i = 0; i < baseline.size(); ++i) differences[i] = variant[i] - baseline[i];
  if (std::ranges::equal(baseline, variant)) return {0, 0, 0, "=", 1};
  return compare(std::ssize(differences), mean(differences), higher_is_better, margin, seed,
                 resamples, [&](Rng& rng) { return draw_mean(differences, rng); });
}

PairedDelta paired_right_wrong(std::span<const double> baseline, std::span<const double> variant,
                               bool higher_is_better, double margin, uint64_t seed, int resamples) {
  PairedDelta result =
      paired_bootstrap(baseline, variant, higher_is_better, margin, seed, resamples);
  int64_t lost = 0, gained = 0;
  for (size_t i = 0; i < baseline.size(); ++i) {
    lost += baseline[i] > variant[i] ? 1 : 0;
    gained += variant[i] > baseline[i] ? 1 : 0;
  }
  result.p_value = mcnemar_exact(lost, gained);
  if (result.verdict == "=") return result;
  const bool decided = result.p_value < 1 - kConfidence;
  result.verdict = !decided                              ? "undecided"
                   : (gained > lost) == higher_is_better ? "better"
                                                         : "worse";
  return result;
}

PairedDelta paired_statistic(int64_t n, const ResampledStatistic& baseline,
                             const ResampledStatistic& variant, bool identical,
                             bool higher_is_better, double margin, uint64_t seed, int resamples) {
  LATHE_CHECK(n > 0);
  if (identical) return {0, 0, 0, "=", 1};
  std::vector<int64_t> indices(static_cast<size_t>(n));
  std::iota(indices.begin(), indices.end(), 0);
  const double delta = variant(indices) - baseline(indices);
  return compare(n, delta, higher_is_better, margin, seed, resamples, [&](Rng& rng) {
    for (auto& i : indices) i = static_cast<int64_t>(rng.below(static_cast<uint64_t>(n)));
    return variant(indices) - baseline(indices);
  });
}

Interval bootstrap_ratio(std::span<const double> numerators, std::span<const double> denominators,
                         uint64_t seed, int resamples) {
  check_ratio(numerators, denominators);
  return resample(std::ssize(numerators), resamples, seed, [&](Rng& rng) {
    return draw_ratios(numerators, numerators, denominators, rng).baseline;
  });
}

PairedDelta paired_ratio(std::span<const double> baseline_numerators,
                         std::span<const double> variant_numerators,
                         std::span<const double> denominators, bool higher_is_better, double margin,
                         uint64_t seed, int resamples) {
  check_ratio(baseline_numerators, denominators);
  check_ratio(variant_numerators, denominators);
  if (std::ranges::equal(baseline_numerators, variant_numerators)) return {0, 0, 0, "=", 1};
  const double d = sum(denominators);
  const double delta = sum(variant_numerators) / d - sum(baseline_numerators) / d;
  return compare(
      std::ssize(denominators), delta, higher_is_better, margin, seed, resamples, [&](Rng& rng) {
        const Ratios r = draw_ratios(baseline_numerators, variant_numerators, denominators, rng);
        return r.variant - r.baseline;
      });
}

Interval bootstrap_perplexity(std::span<const double> losses, std::span<const double> tokens,
                              uint64_t seed, int resamples) {
  const Interval log_interval = bootstrap_ratio(losses, tokens, seed, resamples);
  return {std::exp(log_interval.low), std::exp(log_interval.high)};
}

PairedDelta paired_perplexity(std::span<const double> baseline_losses,
                              std::span<const double> variant_losses,
                              std::span<const double> tokens, double log_margin, uint64_t seed,
                              int resamples) {
  PairedDelta result = paired_ratio(baseline_losses, variant_losses, tokens,
                                    /*higher_is_better=*/false, log_margin, seed, resamples);
  if (std::ranges::equal(baseline_losses, variant_losses)) return result;
  const Interval interval = resample(std::ssize(tokens), resamples, seed, [&](Rng& rng) {
    const Ratios r = draw_ratios(baseline_losses, variant_losses, tokens, rng);
    return std::exp(r.variant) - std::exp(r.baseline);
  });
  const double d = sum(tokens);
  result.delta = std::exp(sum(variant_losses) / d) - std::exp(sum(baseline_losses) / d);
  result.low = interval.low;
  result.high = interval.high;
  return result;
}

Interval wilson_interval(int64_t successes, int64_t n) {
  LATHE_CHECK(n > 0 && successes >= 0 && successes <= n);
  const double trials = static_cast<double>(n);
  const double p = static_cast<double>(successes) / trials;
  const double z2 = kNormalQuantile * kNormalQuantile;
  const double centre = (p + z2 / (2 * trials)) / (1 + z2 / trials);
  const double half = kNormalQuantile / (1 + z2 / trials) *
                      std::sqrt(p * (1 - p) / trials + z2 / (4 * trials * trials));
  // Exact at the ends, where rounding would leave a trace of the other side.
  return {successes == 0 ? 0.0 : centre - half, successes == n ? 1.0 : centre + half};
}

double mcnemar_exact(int64_t only_baseline_right, int64_t only_variant_right) {
  LATHE_CHECK(only_baseline_right >= 0 && only_variant_right >= 0);
  const int64_t n = only_baseline_right + only_variant_right;
  const int64_t k = std::min(only_baseline_right, only_variant_right);
  if (2 * k == n) return 1.0;
  // P(X ≤ k) for X ~ Binomial(n, 1/2), from the largest term down, in logarithms for large n.
  const double log_largest =
      std::lgamma(static_cast<double>(n) + 1) - std::lgamma(static_cast<double>(k) + 1) -
      std::lgamma(static_cast<double>(n - k) + 1) - static_cast<double>(n) * std::log(2.0);
  double relative = 1, total = 1;
  for (int64_t i = k; i > 0; --i) {
    relative *= static_cast<double>(i) / static_cast<double>(n - i + 1);
    total += relative;
  }
  return std::min(1.0, 2 * std::exp(log_largest) * total);
}

std::vector<double> holm(std::span<const double> p_values) {
  std::vector<size_t> order;
  for (size_t i = 0; i < p_values.size(); ++i) {
    if (!std::isnan(p_values[i])) order.push_back(i);
  }
  std::ranges::stable_sort(order, {}, [&](size_t i) { return p_values[i]; });
  std::vector<double> adjusted(p_values.begin(), p_values.end());
  double largest = 0;
  for (size_t rank = 0; rank < order.size(); ++rank) {
    largest = std::max(largest, static_cast<double>(order.size() - rank) * p_values[order[rank]]);
    adjusted[order[rank]] = std::min(1.0, largest);
  }
  return adjusted;
}

namespace {

std::optional<int64_t> sample_count(double root) {
  const double n = root * root;
  if (!(n < 1e9)) return std::nullopt;
  return std::max<int64_t>(2, static_cast<int64_t>(std::ceil(n)));
}

}  // namespace

std::optional<int64_t> samples_to_decide(double mean, double deviation) {
  if (mean == 0) return std::nullopt;
  return sample_count((kNormalQuantile + kPowerQuantile) * deviation / std::abs(mean));
}

std::optional<int64_t> samples_to_decide_right_wrong(double only_baseline, double only_variant) {
  const double both = only_baseline + only_variant;
  const double difference = std::abs(only_variant - only_baseline);
  if (difference == 0) return std::nullopt;
  return sample_count((kNormalQuantile * std::sqrt(both) +
                       kPowerQuantile * std::sqrt(both - difference * difference)) /
                      difference);
}

std::optional<int64_t> samples_for_comparisons(int64_t samples, int64_t comparisons) {
  LATHE_CHECK(samples > 0 && comparisons > 0);
  if (comparisons == 1) return samples;
  const double level = (1 - kConfidence) / static_cast<double>(comparisons);
  const double stricter =
      (normal_quantile(1 - level / 2) + kPowerQuantile) / (kNormalQuantile + kPowerQuantile);
  return sample_count(std::sqrt(static_cast<double>(samples)) * stricter);
}

double normal_quantile(double q) {
  LATHE_CHECK(q > 0 && q < 1);
  // Halving on the tail that is below 1/2, where erfc() keeps its digits.
  const double tail = std::min(q, 1 - q);
  double low = 0, high = 40;
  for (int i = 0; i < 80; ++i) {
    const double middle = (low + high) / 2;
    (0.5 * std::erfc(middle / std::sqrt(2.0)) > tail ? low : high) = middle;
  }
  return q < 0.5 ? -low : low;
}

}  // namespace lathe
