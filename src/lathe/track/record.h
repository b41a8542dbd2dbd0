// What a tracker is told of a run, whichever tool it writes for: names, figures, files.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "lathe/track/run_store.h"

namespace lathe {

using NamedTexts = std::vector<std::pair<std::string, std::string>>;

struct TrackedMetric {
  std::string key;  // "squad_v2/f1", "squad_v2/f1.low", "perplexity/ppl.hf-stride"
  double value = 0;
  int64_t step = 0;
};

struct RunRecord {
  std::string name;  // the run's id
  std::string key;   // 64 hex digits: the same run of the same sweep with the same settings
  bool failed = false;
  int64_t started_ms = 0, ended_ms = 0;  // since 1970
  NamedTexts params;                     // what was asked for: model, recipe, seed
  NamedTexts tags;                       // all else in words: environment, hashes, error
  // Results at step 0. Then series: "running/TASK/SCORE" (mean of the first `step` samples),
  // "layers/mse" (step: the layer's number), "memory/rss_bytes" (step: milliseconds).
  std::vector<TrackedMetric> metrics;
  NamedTexts artifacts;  // name → path of a file
  std::string digest;    // of everything above but the files' contents
};

struct SweepRecord {
  std::string name, key, folder;
  int64_t started_ms = 0;
  NamedTexts params;
  NamedTexts artifacts;  // as far as they are there
};

// Runs that belong together: those that one sweep wrote.
struct TrackedSweep {
  SweepRecord sweep;
  std::vector<RunRecord> runs;
};

// `folder`: where the sweep keeps its runs. Its id is made on first use and kept in
// <folder>/sweep_id.
Result<SweepRecord> sweep_record(const std::string& folder, const nlohmann::json& experiment);
Result<RunRecord> run_record(const SweepRecord& sweep, const Run& run);
// Runs as load_runs gives them, grouped by the folder of their sweep.
Result<std::vector<TrackedSweep>> group_by_sweep(const std::vector<Run>& runs);

}  // namespace lathe
