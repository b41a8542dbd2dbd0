// The honest table as data: runs × columns, with the Pareto front marked. Terminal, Markdown and
// CSV are renderings of this.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "lathe/track/run_store.h"

namespace lathe {

// Why a row has no value: its key "unknown", where it has one.
std::optional<std::string> reason_unknown(const Measurement& m);
// All of those: "joules_per_token, joules_per_prompt_token: no counter", each reason once.
std::vector<std::string> unknown_figures(const std::vector<const Measurement*>& rows);

struct Column {
  std::string task, metric;
  std::string title;  // "f1", "ppl", "decode tok/s"
  std::string unit;
  bool quality;                 // scores have intervals, deltas and verdicts
  std::string convention = "";  // of perplexities: each has a column of its own
};

struct Comparison {
  std::vector<Run> runs;
  std::vector<Column> columns;
  struct Marks {
    bool memory = false, speed = false;  // on the front of quality against memory, against speed
  };
  std::vector<Marks> marks;          // per run
  std::string headline;              // the metric that is the quality of the marks; may be empty
  std::vector<std::string> unknown;  // unknown_figures() of all runs

  // The row's number in a column; nullptr where the run has none.
  const Measurement* cell(size_t run, const Column& column) const;
};

Comparison compare_runs(std::vector<Run> runs);

// True for each point that no other point of the same group beats: at least as good in both
// measures and better in one. Points with a missing measure are never on the front.
struct ParetoPoint {
  std::string group;                    // the model: fronts do not cross models
  std::optional<double> quality, cost;  // both with "higher is better" signs
};
std::vector<bool> pareto_front(const std::vector<ParetoPoint>& points);

}  // namespace lathe
