#include <algorithm>
#include <cmath>

#include "lathe/eval/metrics/statistics.h"
#include "lathe/eval/task.h"

namespace lathe {
namespace {

using Kind = MetricDef::Kind;

// The scores of one metric, a column for each field that it reads, in sample order.
struct Columns {
  std::vector<std::vector<double>> fields;

  int64_t rows() const { return fields.empty() ? 0 : std::ssize(fields[0]); }
};

std::vector<std::string> fields_of(const MetricDef& metric) {
  switch (metric.kind) {
    case Kind::kMean:
      return {metric.numerator};
    case Kind::kRatio:
    case Kind::kExpRatio:
      return {metric.numerator, metric.denominator};
    case Kind::kCorpus:
      return metric.fields;
  }
  return {};
}

// False where the sample lacks one of the fields: it does not count for this metric.
bool pick(const Sample& sample, const std::vector<std::string>& fields, std::vector<double>& row) {
  row.clear();
  for (const std::string& field : fields) {
    const auto it = sample.scores.find(field);
    if (it == sample.scores.end()) return false;
    row.push_back(it->second);
  }
  return true;
}

void append(const MetricDef& metric, std::vector<double> row, Columns& columns) {
  if (metric.kind != Kind::kCorpus) row[0] *= metric.factor;
  columns.fields.resize(row.size());
  for (size_t f = 0; f < row.size(); ++f) columns.fields[f].push_back(row[f]);
}

Columns columns_of(const MetricDef& metric, const std::vector<Sample>& samples) {
  const auto fields = fields_of(metric);
  Columns out;
  std::vector<double> row;
  for (const Sample& sample : samples) {
    if (pick(sample, fields, row)) append(metric, row, out);
  }
  return out;
}

double total(const std::vector<double>& values) {
  double sum = 0;
  for (const double v : values) sum += v;
  return sum;
}

std::vector<int64_t> all_rows(const Columns& c) {
  std::vector<int64_t> rows(static_cast<size_t>(c.rows()));
  for (size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<int64_t>(i);
  return rows;
}

double value_of(const MetricDef& metric, const Columns& c) {
  if (metric.kind == Kind::kCorpus) return metric.corpus(c.fields, all_rows(c));
  const double weight =
      metric.kind == Kind::kMean ? static_cast<double>(c.rows()) : total(c.fields[1]);
  const double ratio = total(c.fields[0]) / weight;
  return metric.kind == Kind::kExpRatio ? std::exp(ratio) : ratio;
}

Interval interval_of(const MetricDef& metric, const Columns& c, uint64_t seed) {
  switch (metric.kind) {
    case Kind::kMean:
      return bootstrap_mean(c.fields[0], seed);
    case Kind::kRatio:
      return bootstrap_ratio(c.fields[0], c.fields[1], seed);
    case Kind::kExpRatio:
      return bootstrap_perplexity(c.fields[0], c.fields[1], seed);
    case Kind::kCorpus:
      if (!metric.resampled) return {NAN, NAN};
      return bootstrap(
          c.rows(), [&](std::span<const int64_t> rows) { return metric.corpus(c.fields, rows); },
          seed);
  }
  return {NAN, NAN};
}

void set_interval(std::optional<double>& low, std::optional<double>& high, Interval interval) {
  if (!interval.known() || !std::isfinite(interval.low) || !std::isfinite(interval.high)) return;
  low = interval.low;
  high = interval.high;
}

bool right_or_wrong(const MetricDef& metric, const std::vector<double>& scores) {
  return metric.kind == Kind::kMean &&
         std::ranges::all_of(scores, [&](double s) { return s == 0 || s == metric.factor; });
}

double deviation(const std::vector<double>& values, double mean) {
  double squares = 0;
  for (const double v : values) squares += (v - mean) * (v - mean);
  return std::sqrt(squares / static_cast<double>(std::max<size_t>(1, values.size() - 1)));
}

// All right or all wrong: every resample is the same, and an interval of no width would claim
// certainty. False for fewer than two samples, which have no interval at all.
bool unanimous(const MetricDef& metric, const std::vector<double>& scores) {
  return scores.size() >= 2 && metric.unit == "%" && right_or_wrong(metric, scores) &&
         std::ranges::all_of(scores, [&](double s) { return s == scores[0]; });
}

// The samples that would decide a difference of this size. A ratio is linearized: each sample moves
// it by (difference − ratio · weight) / mean weight.
std::optional<int64_t> decisive(const MetricDef& metric, const Columns& theirs,
                                const Columns& ours) {
  if (metric.kind == Kind::kCorpus || ours.rows() < 2) return std::nullopt;
  std::vector<double> differences;
  for (size_t i = 0; i < ours.fields[0].size(); ++i) {
    differences.push_back(ours.fields[0][i] - theirs.fields[0][i]);
  }
  const auto n = static_cast<double>(differences.size());
  if (metric.kind == Kind::kMean) {
    const double mean = total(differences) / n;
    return samples_to_decide(mean, deviation(differences, mean));
  }
  const auto& weights = ours.fields[1];
  const double ratio = total(differences) / total(weights), mean_weight = total(weights) / n;
  for (size_t i = 0; i < differences.size(); ++i) {
    differences[i] = (differences[i] - ratio * weights[i]) / mean_weight;
  }
  return samples_to_decide(ratio, deviation(differences, 0));
}

PairedDelta paired(const MetricDef& metric, const Columns& theirs, const Columns& ours,
                   uint64_t seed, Measurement& row) {
  const bool higher = metric.better == "higher";
  row.test = "paired-bootstrap";
  row.decisive_n = decisive(metric, theirs, ours);
  switch (metric.kind) {
    case Kind::kMean: {
      const auto &b = theirs.fields[0], &v = ours.fields[0];
      if (!right_or_wrong(metric, b) || !right_or_wrong(metric, v)) {
        return paired_bootstrap(b, v, higher, metric.margin, seed);
      }
      row.test = "mcnemar";
      row.gained = row.lost = 0;
      for (size_t i = 0; i < b.size(); ++i) {
        *row.gained += v[i] > b[i] ? 1 : 0;
        *row.lost += v[i] < b[i] ? 1 : 0;
      }
      const auto n = static_cast<double>(b.size());
      row.decisive_n = samples_to_decide_right_wrong(static_cast<double>(*row.lost) / n,
                                                     static_cast<double>(*row.gained) / n);
      return paired_right_wrong(b, v, higher, metric.margin, seed);
    }
    case Kind::kRatio:
      return paired_ratio(theirs.fields[0], ours.fields[0], ours.fields[1], higher, metric.margin,
                          seed);
    case Kind::kExpRatio:
      return paired_perplexity(theirs.fields[0], ours.fields[0], ours.fields[1], metric.margin,
                               seed);
    case Kind::kCorpus: {
      PairedDelta delta = paired_statistic(
          ours.rows(),
          [&](std::span<const int64_t> rows) { return metric.corpus(theirs.fields, rows); },
          [&](std::span<const int64_t> rows) { return metric.corpus(ours.fields, rows); },
          ours.fields == theirs.fields, higher, metric.margin, seed);
      // The error shrinks with the root of the samples, as that of a mean: as if each sample had
      // moved the score by itself.
      row.decisive_n =
          samples_to_decide(delta.delta, delta.error * std::sqrt(static_cast<double>(ours.rows())));
      return delta;
    }
  }
  return {NAN, NAN, NAN, "undecided", NAN, NAN};
}

void compare(const MetricDef& metric, const std::vector<Sample>& samples,
             const std::vector<Sample>& baseline, uint64_t seed, Measurement& row) {
  if (metric.better.empty() || !metric.resampled) return;
  std::map<std::string, const Sample*> by_id;
  for (const Sample& sample : baseline) by_id.emplace(sample.id, &sample);
  const auto fields = fields_of(metric);
  Columns ours, theirs;
  std::vector<double> row_of_ours, row_of_theirs;
  for (const Sample& sample : samples) {
    const auto it = by_id.find(sample.id);
    if (it == by_id.end() || !pick(sample, fields, row_of_ours) ||
        !pick(*it->second, fields, row_of_theirs)) {
      continue;
    }
    append(metric, row_of_ours, ours);
    append(metric, row_of_theirs, theirs);
  }
  if (ours.rows() == 0) return;
  const PairedDelta delta = paired(metric, theirs, ours, seed, row);
  if (!std::isfinite(delta.delta)) return;
  row.baseline_delta = delta.delta;
  row.verdict = delta.verdict;
  if (std::isfinite(delta.p_value)) row.p_value = delta.p_value;
  set_interval(row.delta_low, row.delta_high, {delta.low, delta.high});
}

}  // namespace

std::vector<Measurement> aggregate(const Task& task, const std::vector<Sample>& samples,
                                   const std::vector<Sample>* baseline, uint64_t seed) {
  std::vector<Measurement> rows;
  for (const MetricDef& metric : task.metrics()) {
    const Columns columns = columns_of(metric, samples);
    if (columns.rows() == 0) continue;
    Measurement row;
    row.task = task.name();
    row.metric = metric.name;
    row.value = value_of(metric, columns);
    const bool weighted = metric.kind == Kind::kRatio || metric.kind == Kind::kExpRatio;
    row.n = weighted ? static_cast<int64_t>(total(columns.fields[1])) : columns.rows();
    row.unit = metric.unit;
    row.better = metric.better;
    row.extra = task.extra();
    row.extra.update(metric.extra);
    if (unanimous(metric, columns.fields[0])) {
      const int64_t right = columns.fields[0][0] == 0 ? 0 : columns.rows();
      const Interval wilson = wilson_interval(right, columns.rows());
      set_interval(row.low, row.high, {metric.factor * wilson.low, metric.factor * wilson.high});
      row.extra["interval"] = "wilson";
    } else {
      set_interval(row.low, row.high, interval_of(metric, columns, seed));
    }
    if (baseline) compare(metric, samples, *baseline, seed, row);
    rows.push_back(std::move(row));
  }
  return rows;
}

void holm_correct(std::span<Measurement* const> rows) {
  std::vector<double> p_values;
  for (const Measurement* row : rows) p_values.push_back(row->p_value.value_or(NAN));
  const std::vector<double> adjusted = holm(p_values);
  // Those that are decided make way: the next is tested as one of the others.
  int64_t others = 0;
  for (const double p : adjusted) others += p >= 1 - kConfidence ? 1 : 0;
  for (size_t i = 0; i < rows.size(); ++i) {
    Measurement& row = *rows[i];
    if (!row.p_value || row.p_holm) continue;
    row.p_holm = adjusted[i];
    if (adjusted[i] < 1 - kConfidence) continue;
    if (row.verdict == "better" || row.verdict == "worse") row.verdict = "undecided";
    if (row.decisive_n) row.decisive_n = samples_for_comparisons(*row.decisive_n, others);
  }
}

}  // namespace lathe
