// run.json from what a run wrote down. Pure: the same files give the same digits, however often the
// sweep was stopped on the way.
#pragma once

#include "lathe/lab/experiment.h"
#include "lathe/track/run_store.h"

namespace lathe {

// `run` has its identity set. Fills results, environment, layers and the samples shown in reports;
// `baseline`: the samples to compare with, or nullptr.
Status finish_run(const Experiment& experiment, const RunFolder& folder,
                  const SamplesByTask* baseline, Run& run);

// Whether results of this task are a probe's or the cost, not an evaluation's.
bool measures_no_quality(const std::string& task);

}  // namespace lathe
