// Sweep: runs an experiment, one process a run, so that memory is measured cleanly and a run that
// dies takes nothing with it. Everything is on disk as it is made: started again, the sweep goes on
// where it was.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "lathe/lab/experiment.h"
#include "lathe/track/run_store.h"

namespace lathe {

struct SweepOptions {
  std::string runs_folder = "runs";     // runs go to <runs_folder>/<experiment>/…
  std::vector<std::string> only, skip;  // names of variants
  int threads = 0;
  std::string device = "auto";
  bool keep_models = true;  // false: a compressed model is deleted once its run is done
};

// One run of the plan.
struct PlannedRun {
  std::string id;     // "nf4"; "model/nf4" with several models
  std::string model;  // as the experiment names it
  const VariantSpec* variant;
  std::string folder;
  std::string state;         // "done", "begun", "new"
  int64_t stored_bytes = 0;  // predicted size of the weights
  std::string problem;       // why it cannot run; empty if it can
};

// What sweep() would do. Names in only/skip that no variant has are an error.
Result<std::vector<PlannedRun>> plan_sweep(const Experiment& experiment,
                                           const SweepOptions& options);

struct SweepOutcome {
  std::string folder;  // <runs_folder>/<experiment>
  std::vector<Run> runs;
  int64_t failed = 0, reused = 0;
  int64_t no_room = 0;  // of those that failed: refused because they would not fit into memory
};
// `on_run` hears of each run as it ends. A failed run is recorded and the sweep goes on.
Result<SweepOutcome> sweep(const Experiment& experiment, const SweepOptions& options,
                           const std::function<void(const Run&)>& on_run = {});

// The body of a run's own process: evaluates and measures what <folder>/job.json names, writing
// samples and measured.json there.
Status run_job(const std::string& folder);

}  // namespace lathe
