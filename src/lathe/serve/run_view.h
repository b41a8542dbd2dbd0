// What the dashboard shows: the runs of one experiment below some folders, and what goes on there
// now.
#pragma once

#include <string>
#include <vector>

#include "lathe/track/run_store.h"

namespace lathe {

struct RunView {
  std::vector<std::string> experiments;  // names, last changed first
  std::string experiment;                // the one that is shown
  std::vector<Run> runs;                 // finished and failed
  // {"begun", "runs": [{"id", "state": "waiting|running|done|failed", "phase", "done", "total",
  // "elapsed_ms", "rss_bytes", "seconds"}]}; null where no plan is there.
  nlohmann::json live;
};

// `experiment` empty: the one last changed. Unreadable run files are left out and named in `live`.
Result<RunView> view_runs(const std::vector<std::string>& folders, const std::string& experiment);

// Changes whenever a file that a view is made from does.
std::string version_of(const std::vector<std::string>& folders);

}  // namespace lathe
