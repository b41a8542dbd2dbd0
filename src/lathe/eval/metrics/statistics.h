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
#include <span>
#include <string>

namespace lathe {

inline constexpr double kConfidence = 0.95;
inline constexpr int kResamples = 2000;

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
                             int resamples = kResamples);

// Σ numerators / Σ denominators, resampling the pairs: a block bootstrap where a pair is a block of
// dependent observations, such as the summed loss and the token count of one window of text.
Interval bootstrap_ratio(std::span<const double> numerators, std::span<const double> denominators,
                         uint64_t seed, int resamples = kResamples);

// The difference of two such ratios over the same blocks with the same denominators. For perplexity
// this is the difference of mean losses, that is of log-perplexity; margin in the same unit.
PairedDelta paired_ratio(std::span<const double> baseline_numerators,
                         std::span<const double> variant_numerators,
                         std::span<const double> denominators, bool higher_is_better, double margin,
                         uint64_t seed, int resamples = kResamples);

// exp of the ratio above: perplexity from each window's summed loss (nats) and number of tokens.
Interval bootstrap_perplexity(std::span<const double> losses, std::span<const double> tokens,
                              uint64_t seed, int resamples = kResamples);

// The difference of two perplexities over the same windows; delta and interval in perplexity. The
// verdict is paired_ratio's on log-perplexity, where `log_margin` belongs: 0.001 is one part in a
// thousand of perplexity. Lower is better.
PairedDelta paired_perplexity(std::span<const double> baseline_losses,
                              std::span<const double> variant_losses,
                              std::span<const double> tokens, double log_margin, uint64_t seed,
                              int resamples = kResamples);

// Wilson's score interval for `successes` of n > 0 trials (Wilson 1927), as fractions.
Interval wilson_interval(int64_t successes, int64_t n);

// The exact two-sided p-value of McNemar's test: of the samples on which two systems differ, how
// surprising is the split if either is as likely to be right? 1 where they never differ.
double mcnemar_exact(int64_t only_baseline_right, int64_t only_variant_right);

}  // namespace lathe
