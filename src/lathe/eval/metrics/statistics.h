// Uncertainty of scores and of their differences. Everything is a pure function of its inputs and
// the seed: resample r draws from its own generator, so the digits do not depend on the number of
// threads, on the platform, or on how many resamples there are before it.
//
// Intervals are percentile bootstrap intervals (Efron 1979; Davison and Hinkley 1997, section 5.3)
// at kConfidence, with NumPy's default quantile (linear between order statistics). Their known
// weakness: a few samples give too narrow an interval, and scores that are all the same give one of
// no width; wilson_interval() is sound there for scores that are 0 or 1.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace lathe {

inline constexpr double kConfidence = 0.95;
inline constexpr int kResamples = 2000;
// Comparisons take more, so that the smallest p-value they can give (2 / (resamples + 1)) survives
// a correction for some hundred comparisons.
inline constexpr int kPairedResamples = 10000;

struct Interval {
  double low, high;
  // One sample says nothing about its own spread: both ends are then NaN, and known() false.
  bool known() const { return low == low && high == high; }
};

// A comparison of a variant with its baseline on the same samples.
struct PairedDelta {
  double delta;      // variant − baseline, in the unit of the scores
  double low, high;  // interval of the delta; NaN for fewer than two samples
  // "="          all samples score identically, or the interval lies within ±margin (margin > 0)
  // "better", "worse"   otherwise, and the interval excludes 0
  // "undecided"  otherwise
  std::string verdict;
  // Two-sided: how surprising the difference is if there is none. 1 for identical scores, NaN where
  // nothing is known. Of the bootstrap: twice the smaller share of resamples at or beyond 0, one
  // resample added to either side (Davison and Hinkley 1997, section 4.2.3).
  double p_value = 1;
  // Standard deviation of the resampled differences: the standard error of `delta`. NaN where it is
  // not known.
  double error = 0;
};

// The verdict as defined above, from an interval that is already known.
std::string decide(bool identical, Interval interval, bool higher_is_better, double margin);

// The q-quantile (0 ≤ q ≤ 1) of `sorted`, not empty: linear between neighbours, NumPy's default.
double quantile_of_sorted(std::span<const double> sorted, double q);

// The interval of any statistic of n samples. `statistic` gets n indices drawn with replacement
// from [0, n), and must be a function of them alone. For corpus scores such as BLEU, which are not
// means over samples; the paired form is the same call with a statistic that subtracts.
using ResampledStatistic = std::function<double(std::span<const int64_t> indices)>;
Interval bootstrap(int64_t n, const ResampledStatistic& statistic, uint64_t seed,
                   int resamples = kResamples);

// The mean of `scores`, which must not be empty.
double mean(std::span<const double> scores);
Interval bootstrap_mean(std::span<const double> scores, uint64_t seed, int resamples = kResamples);

// The difference of means, paired: each resample draws samples, and takes both scores of each.
// `baseline` and `variant` have one score per sample, in the same order.
PairedDelta paired_bootstrap(std::span<const double> baseline, std::span<const double> variant,
                             bool higher_is_better, double margin, uint64_t seed,
                             int resamples = kPairedResamples);

// The same for scores that are 0 or 1, right or wrong: the interval is the bootstrap's, p-value and
// verdict are McNemar's exact test's.
PairedDelta paired_right_wrong(std::span<const double> baseline, std::span<const double> variant,
                               bool higher_is_better, double margin, uint64_t seed,
                               int resamples = kPairedResamples);

// The difference of any two statistics of the same n samples, for corpus scores. `identical`: the
// samples are the same in every number.
PairedDelta paired_statistic(int64_t n, const ResampledStatistic& baseline,
                             const ResampledStatistic& variant, bool identical,
                             bool higher_is_better, double margin, uint64_t seed,
                             int resamples = kPairedResamples);

// Σ numerators / Σ denominators, resampling the pairs: a block bootstrap where a pair is a block of
// dependent observations, such as the summed loss and the token count of one window of text.
Interval bootstrap_ratio(std::span<const double> numerators, std::span<const double> denominators,
                         uint64_t seed, int resamples = kResamples);

// The difference of two such ratios over the same blocks with the same denominators. For perplexity
// this is the difference of mean losses, that is of log-perplexity; margin in the same unit.
PairedDelta paired_ratio(std::span<const double> baseline_numerators,
                         std::span<const double> variant_numerators,
                         std::span<const double> denominators, bool higher_is_better, double margin,
                         uint64_t seed, int resamples = kPairedResamples);

// exp of the ratio above: perplexity from each window's summed loss (nats) and number of tokens.
Interval bootstrap_perplexity(std::span<const double> losses, std::span<const double> tokens,
                              uint64_t seed, int resamples = kResamples);

// The difference of two perplexities over the same windows; delta and interval in perplexity. The
// verdict is paired_ratio's on log-perplexity, where `log_margin` belongs: 0.001 is one part in a
// thousand of perplexity. Lower is better.
PairedDelta paired_perplexity(std::span<const double> baseline_losses,
                              std::span<const double> variant_losses,
                              std::span<const double> tokens, double log_margin, uint64_t seed,
                              int resamples = kPairedResamples);

// Wilson's score interval for `successes` of n > 0 trials (Wilson 1927), as fractions.
Interval wilson_interval(int64_t successes, int64_t n);

// The exact two-sided p-value of McNemar's test: of the samples on which two systems differ, how
// surprising is the split if either is as likely to be right? 1 where they never differ.
double mcnemar_exact(int64_t only_baseline_right, int64_t only_variant_right);

// Holm's step-down correction (1979) for deciding many comparisons at once: the adjusted p-values,
// in the order of `p_values`. NaN entries stay, and do not count as comparisons.
std::vector<double> holm(std::span<const double> p_values);

// The smallest number of samples that would decide, at kConfidence and in four cases of five
// (kPower), a difference as large as the one seen. Absent where no difference was seen, or where it
// would take more than 10⁹.
inline constexpr double kPower = 0.8;
// Paired differences of this mean and standard deviation (normal approximation).
std::optional<int64_t> samples_to_decide(double mean, double deviation);
// Right or wrong (Connor 1987): of all samples, the shares that only one of the two gets right.
std::optional<int64_t> samples_to_decide_right_wrong(double only_baseline, double only_variant);
// From either: the number that would decide it as one of `comparisons` ≥ 1, each tested at
// (1 − kConfidence) / comparisons. Absent above 10⁹.
std::optional<int64_t> samples_for_comparisons(int64_t samples, int64_t comparisons);

// The q-quantile (0 < q < 1) of the standard normal distribution.
double normal_quantile(double q);

}  // namespace lathe
