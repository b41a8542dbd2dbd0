// A run's own process: this very program, started as `lathe run-job FOLDER --report-to FD`. What
// ends it early comes back through a pipe, so that a full disk cannot swallow it; it dies with the
// sweep that started it.
#pragma once

#include <string>
#include <vector>

#include "lathe/base/result.h"

namespace lathe {

struct RunProcess {
  int pid = 0;
  int ends = -1;  // the reading end of its pipe, which closes when it ends
};
// Starts the job in `folder` (see run_job()).
Result<RunProcess> start_run_process(const std::string& folder);
// Waits until one of them has something to tell or has ended; gives its place.
size_t wait_for_any(const std::vector<RunProcess>& processes);
// Waits for its end; gives its error. `again`: whether another attempt may help (it was killed, or
// failed for a reason other than its input or the room that it needs).
Status end_of(const RunProcess& process, bool& again);

// For that process: to end when its parent does, even if that is killed.
void die_with_parent();
// For that process: tells its parent the error. False if nobody could be told.
bool report_error(int descriptor, const Error& error);

}  // namespace lathe
