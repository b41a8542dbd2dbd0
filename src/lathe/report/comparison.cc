#include "lathe/report/comparison.h"

#include <algorithm>
#include <array>

#include "lathe/base/parse_json.h"
#include "lathe/lab/finish_run.h"

namespace lathe {
namespace {

// The first of these that a sweep has is the quality that the front is drawn for; without any, the
// table's first column is.
constexpr std::array<const char*, 9> kHeadlines = {
    "f1", "exact_match", "strict_match", "flexible_match", "acc", "rougeL", "bleu", "chrf", "ppl"};
// Beside the first metric of each task, these make columns; the rest is in run.json and the page.
constexpr std::array<const char*, 10> kColumns = {
    "f1",   "exact_match", "strict_match", "acc_norm", "rougeL",
    "bleu", "chrf",        "ppl",          "word_ppl", "coherence"};

struct ProbeColumn {
  const char* metric;
  const char* title;
};
constexpr std::array<ProbeColumn, 8> kProbeColumns = {{{"weights_bytes", "weights"},
                                                       {"bits_per_weight", "bits/w"},
                                                       {"peak_rss_bytes", "peak RSS"},
                                                       {"decode_tokens_per_s", "decode tok/s"},
                                                       {"prefill_tokens_per_s", "prefill tok/s"},
                                                       {"ttft_ms", "TTFT ms"},
                                                       {"joules_per_token", "J/tok"},
                                                       {"usd_per_million_tokens", "USD/M tok"}}};

std::string convention_of(const Measurement& m) {
  const auto it = m.extra.find("convention");
  return it != m.extra.end() && it->is_string() ? it->get<std::string>() : "";
}

const Measurement* find(const Run& run, const std::string& task, const std::string& metric) {
  for (const Measurement& m : run.results) {
    if (m.metric == metric && (task.empty() || m.task == task)) return &m;
  }
  return nullptr;
}

bool makes_column(const Run& run, const Measurement& m) {
  if (measures_no_quality(m.task)) return false;
  const Measurement& first = *std::ranges::find_if(
      run.results, [&](const Measurement& other) { return other.task == m.task; });
  return &first == &m || std::ranges::find(kColumns, m.metric) != kColumns.end();
}

std::optional<double> signed_value(const Run& run, const std::string& metric) {
  const Measurement* m = find(run, "", metric);
  if (!m) return std::nullopt;
  return m->better == "lower" ? -m->value : m->value;
}

}  // namespace

std::optional<std::string> reason_unknown(const Measurement& m) {
  const auto it = m.extra.find("unknown");
  return it != m.extra.end() && it->is_string() ? std::optional(it->get<std::string>())
                                                : std::nullopt;
}

std::vector<std::string> unknown_figures(const std::vector<const Measurement*>& rows) {
  std::vector<std::pair<std::string, std::vector<std::string>>> by_reason;
  for (const Measurement* m : rows) {
    const auto reason = reason_unknown(*m);
    if (!reason) continue;
    auto it = std::ranges::find_if(by_reason, [&](const auto& r) { return r.first == *reason; });
    if (it == by_reason.end()) it = by_reason.insert(it, {*reason, {}});
    auto& metrics = it->second;
    if (std::ranges::find(metrics, m->metric) == metrics.end()) metrics.push_back(m->metric);
  }
  std::vector<std::string> out;
  for (const auto& [reason, metrics] : by_reason) {
    out.push_back(fmt::format("{}: {}", fmt::join(metrics, ", "), reason));
  }
  return out;
}

const Measurement* Comparison::cell(size_t run, const Column& column) const {
  for (const Measurement& m : runs[run].results) {
    if (m.task == column.task && m.metric == column.metric &&
        (!column.quality || convention_of(m) == column.convention)) {
      return &m;
    }
  }
  return nullptr;
}

std::vector<bool> pareto_front(const std::vector<ParetoPoint>& points) {
  std::vector<bool> front;
  for (const ParetoPoint& p : points) {
    const bool measured = p.quality && p.cost;
    const bool beaten = std::any_of(points.begin(), points.end(), [&](const ParetoPoint& q) {
      return measured && q.quality && q.cost && q.group == p.group && *q.quality >= *p.quality &&
             *q.cost >= *p.cost && (*q.quality > *p.quality || *q.cost > *p.cost);
    });
    front.push_back(measured && !beaten);
  }
  return front;
}

Comparison compare_runs(std::vector<Run> runs) {
  Comparison out;
  out.runs = std::move(runs);
  for (const Run& run : out.runs) {
    for (const Measurement& m : run.results) {
      const bool known = std::any_of(out.columns.begin(), out.columns.end(), [&](const Column& c) {
        return c.task == m.task && c.metric == m.metric && c.convention == convention_of(m);
      });
      if (makes_column(run, m) && !known) {
        out.columns.push_back({m.task, m.metric, m.metric, m.unit, true, convention_of(m)});
      }
    }
  }
  // Where a metric comes from several tasks or in several conventions, its title says which.
  for (Column& column : out.columns) {
    int same = 0, alike = 0;
    for (const Column& c : out.columns) {
      if (c.metric != column.metric) continue;
      ++same;
      alike += c.convention == column.convention ? 1 : 0;
    }
    if (alike > 1) column.title += " " + column.task;
    if (same > 1 && !column.convention.empty()) column.title += " " + column.convention;
  }
  const std::string first = out.columns.empty() ? "" : out.columns[0].metric;
  for (const ProbeColumn& probe : kProbeColumns) {
    for (const Run& run : out.runs) {
      const Measurement* m = find(run, "", probe.metric);
      if (m && !reason_unknown(*m)) {
        out.columns.push_back({m->task, m->metric, probe.title, m->unit, false});
        break;
      }
    }
  }

  std::vector<const Measurement*> all;
  for (const Run& run : out.runs) {
    for (const Measurement& m : run.results) all.push_back(&m);
  }
  out.unknown = unknown_figures(all);

  out.headline = first;
  for (const char* metric : kHeadlines) {
    const auto has = [&](const Run& run) { return find(run, "", metric) != nullptr; };
    if (!std::ranges::any_of(out.runs, has)) continue;
    out.headline = metric;
    break;
  }
  out.marks.resize(out.runs.size());
  if (out.headline.empty()) return out;
  std::vector<ParetoPoint> memory, speed;
  for (const Run& run : out.runs) {
    const std::string group = member_or(run.model, "path", "");
    const bool done = run.status != "failed";
    const auto quality = done ? signed_value(run, out.headline) : std::nullopt;
    memory.push_back({group, quality, signed_value(run, "weights_bytes")});
    speed.push_back({group, quality, signed_value(run, "decode_tokens_per_s")});
  }
  const auto on_memory = pareto_front(memory), on_speed = pareto_front(speed);
  for (size_t i = 0; i < out.runs.size(); ++i) out.marks[i] = {on_memory[i], on_speed[i]};
  return out;
}

}  // namespace lathe
