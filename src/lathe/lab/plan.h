// What a sweep would do: its runs, in the order in which they go, with what each will take.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "lathe/lab/experiment.h"

namespace lathe {

// A share of the runs: those whose place in the plan is `index` modulo `count`.
struct Shard {
  int index = 0, count = 1;
};

struct SweepOptions {
  std::string runs_folder = "runs";     // runs go to <runs_folder>/<experiment>/…
  std::vector<std::string> only, skip;  // globs over variants' names and runs' ids
  int threads = 0;
  std::string device = "auto";
  bool keep_models = true;  // false: a compressed model is deleted once its run is done
  int jobs = 1;             // runs at the same time, where memory allows; they share the threads
  int retries = 1;          // further attempts after a crash
  Shard shard;              // of the runs that are chosen
};

// One run of the plan.
struct PlannedRun {
  std::string id;     // "nf4"; "model/nf4" with several models
  std::string model;  // as the experiment names it
  const VariantSpec* variant;
  std::string folder;
  std::string state;              // "done", "begun", "new"
  int64_t order = 0;              // its place in the file
  int64_t stored_bytes = 0;       // predicted size of the weights
  int64_t memory_bytes = 0;       // predicted peak of its process: weights, caches, working space
  std::optional<double> seconds;  // predicted time; empty where nothing like it has run yet
  std::string basis;              // what that prediction rests on
  std::string problem;            // why it cannot run; empty if it can
};

// Patterns in only/skip that fit no run are an error.
Result<std::vector<PlannedRun>> plan_sweep(const Experiment& experiment,
                                           const SweepOptions& options);

}  // namespace lathe
