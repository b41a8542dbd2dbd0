// Sweep: runs an experiment, one process a run, so that memory is measured cleanly and a run that
// dies takes nothing with it. Everything is on disk as it is made: started again, the sweep goes on
// where it was.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "lathe/lab/plan.h"
#include "lathe/track/run_store.h"

namespace lathe {

struct SweepOutcome {
  std::string folder;  // <runs_folder>/<experiment>
  std::vector<Run> runs;
  int64_t failed = 0, reused = 0;
  int64_t no_room = 0;  // of those that failed: refused because they would not fit into memory
};
// `on_run` hears of each run as it ends, one at a time, with the verdicts of that run alone; those
// of the outcome are corrected for the whole sweep. A failed run is recorded and the sweep goes on.
Result<SweepOutcome> sweep(const Experiment& experiment, const SweepOptions& options,
                           const std::function<void(const Run&)>& on_run = {});

// The body of a run's own process: evaluates and measures what <folder>/job.json names, writing
// samples and measured.json there.
Status run_job(const std::string& folder);

}  // namespace lathe
