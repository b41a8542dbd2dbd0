#include "lathe/report/comparison.h"

#include <algorithm>
#include <array>

namespace lathe {
namespace {

// The first of these that a sweep has is the quality that the front is drawn for.
constexpr std::array<const char*, 5> kHeadlines = {"f1", "exact_match", "strict_match",
                                                   "flexible_match", "ppl"};

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

bool is_probe(const std::string& task) {
  return task == "latency" || task == "memory" || task == "size" || task == "cost";
}

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

// Only the leading metrics of a task make columns; the rest is in run.json and the page.
bool leads(const std::string& metric) {
  return metric == "f1" || metric == "exact_match" || metric == "strict_match" || metric == "ppl" ||
         metric == "word_ppl" || metric == "coherence";
}

std::optional<double> signed_value(const Run& run, const char* metric) {
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
      if (!is_probe(m.task) && leads(m.metric) && !known) {
        out.columns.push_back({m.task, m.metric, m.metric, m.unit, true, convention_of(m)});
      }
    }
  }
  // Where a metric comes in several conventions, its title says which.
  for (Column& column : out.columns) {
    const auto same = std::ranges::count_if(
        out.columns, [&](const Column& c) { return c.metric == column.metric; });
    if (same > 1 && !column.convention.empty()) column.title += " " + column.convention;
  }
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

  const char* headline = nullptr;
  for (const char* metric : kHeadlines) {
    for (const Run& run : out.runs) {
      if (!headline && find(run, "", metric)) headline = metric;
    }
  }
  out.marks.resize(out.runs.size());
  if (!headline) return out;
  std::vector<ParetoPoint> memory, speed;
  for (const Run& run : out.runs) {
    const std::string group = run.model.is_object() ? run.model.value("path", "") : "";
    const bool done = run.status != "failed";
    const auto quality = done ? signed_value(run, headline) : std::nullopt;
    memory.push_back({group, quality, signed_value(run, "weights_bytes")});
    speed.push_back({group, quality, signed_value(run, "decode_tokens_per_s")});
  }
  const auto on_memory = pareto_front(memory), on_speed = pareto_front(speed);
  for (size_t i = 0; i < out.runs.size(); ++i) out.marks[i] = {on_memory[i], on_speed[i]};
  return out;
}

}  // namespace lathe
