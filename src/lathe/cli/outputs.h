// Running a sweep and writing what comes of it, for `sweep` and `demo`; the files of `report`.
#pragma once

#include "lathe/cli/command.h"
#include "lathe/lab/sweep.h"

namespace lathe::cli {

// Runs, writes report.html, results.csv, .json, .jsonl and .md beside the runs, prints the
// table.
Result<int> run_and_show(const Experiment& experiment, const SweepOptions& options,
                         const Common& common);

// One error for each sentence of Tracking::end(), with how to send the rest later.
void say_untracked(const std::vector<std::string>& untracked, const std::string& folder);

nlohmann::json json_of(const std::vector<Run>& runs, const std::string& command);

}  // namespace lathe::cli
