#include <cmath>

#include "lathe/eval/metrics/statistics.h"
#include "lathe/eval/task.h"

namespace lathe {
namespace {

using Kind = MetricDef::Kind;

// The scores of one metric over samples, in sample order.
struct Columns {
  std::vector<std::string> ids;
  std::vector<double> numerators, denominators;
};

bool pick(const Sample& sample, const MetricDef& metric, double& numerator, double& denominator) {
  const auto n = sample.scores.find(metric.numerator);
  if (n == sample.scores.end()) return false;
  numerator = n->second;
  denominator = 1;
  if (metric.kind == Kind::kMean) return true;
  const auto d = sample.scores.find(metric.denominator);
  if (d == sample.scores.end()) return false;
  denominator = d->second;
  return true;
}

Columns columns_of(const MetricDef& metric, const std::vector<Sample>& samples) {
  Columns out;
  for (const Sample& sample : samples) {
    double n = 0, d = 1;
    if (!pick(sample, metric, n, d)) continue;
    out.ids.push_back(sample.id);
    out.numerators.push_back(n * metric.factor);
    out.denominators.push_back(d);
  }
  return out;
}

double total(const std::vector<double>& values) {
  double sum = 0;
  for (const double v : values) sum += v;
  return sum;
}

double value_of(const MetricDef& metric, const Columns& c) {
  const double ratio = total(c.numerators) / total(c.denominators);
  return metric.kind == Kind::kExpRatio ? std::exp(ratio) : ratio;
}

Interval interval_of(const MetricDef& metric, const Columns& c, uint64_t seed) {
  switch (metric.kind) {
    case Kind::kMean:
      return bootstrap_mean(c.numerators, seed);
    case Kind::kRatio:
      return bootstrap_ratio(c.numerators, c.denominators, seed);
    case Kind::kExpRatio:
      return bootstrap_perplexity(c.numerators, c.denominators, seed);
  }
  return {NAN, NAN};
}

void set_interval(std::optional<double>& low, std::optional<double>& high, Interval interval) {
  if (!interval.known() || !std::isfinite(interval.low) || !std::isfinite(interval.high)) return;
  low = interval.low;
  high = interval.high;
}

void compare(const MetricDef& metric, const std::vector<Sample>& samples,
             const std::vector<Sample>& baseline, uint64_t seed, Measurement& row) {
  std::map<std::string, const Sample*> by_id;
  for (const Sample& sample : baseline) by_id.emplace(sample.id, &sample);
  std::vector<double> ours, theirs, weights;
  for (const Sample& sample : samples) {
    const auto it = by_id.find(sample.id);
    double n = 0, d = 1, base_n = 0, base_d = 1;
    if (it == by_id.end() || !pick(sample, metric, n, d) ||
        !pick(*it->second, metric, base_n, base_d)) {
      continue;
    }
    ours.push_back(n * metric.factor);
    theirs.push_back(base_n * metric.factor);
    weights.push_back(d);
  }
  if (ours.empty()) return;
  const bool higher = metric.better == "higher";
  const PairedDelta paired = metric.kind == Kind::kMean
                                 ? paired_bootstrap(theirs, ours, higher, metric.margin, seed)
                             : metric.kind == Kind::kRatio
                                 ? paired_ratio(theirs, ours, weights, higher, metric.margin, seed)
                                 : paired_perplexity(theirs, ours, weights, metric.margin, seed);
  if (!std::isfinite(paired.delta)) return;
  row.baseline_delta = paired.delta;
  row.verdict = paired.verdict;
  set_interval(row.delta_low, row.delta_high, {paired.low, paired.high});
}

}  // namespace

std::vector<Measurement> aggregate(const Task& task, const std::vector<Sample>& samples,
                                   const std::vector<Sample>* baseline, uint64_t seed) {
  std::vector<Measurement> rows;
  for (const MetricDef& metric : task.metrics()) {
    const Columns columns = columns_of(metric, samples);
    if (columns.ids.empty()) continue;
    Measurement row;
    row.task = task.name();
    row.metric = metric.name;
    row.value = value_of(metric, columns);
    row.n = metric.kind == Kind::kMean ? static_cast<int64_t>(columns.ids.size())
                                       : static_cast<int64_t>(total(columns.denominators));
    row.unit = metric.unit;
    row.better = metric.better;
    row.extra = task.extra();
    set_interval(row.low, row.high, interval_of(metric, columns, seed));
    if (baseline) compare(metric, samples, *baseline, seed, row);
    rows.push_back(std::move(row));
  }
  return rows;
}

}  // namespace lathe
