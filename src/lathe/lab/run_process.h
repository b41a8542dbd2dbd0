// A run's own process: this very program, started as `lathe run-job FOLDER --report-to FD`. What
// ends it early comes back through a pipe, so that a full disk cannot swallow it; it dies with the
// sweep that started it.
#pragma once

#include <string>

#include "lathe/base/result.h"

namespace lathe {

// Runs the job in `folder` (see run_job()); returns when the process has ended, with its error.
Status run_in_own_process(const std::string& folder);

// For that process: to end when its parent does, even if that is killed.
void die_with_parent();
// For that process: tells its parent the error. False if nobody could be told.
bool report_error(int descriptor, const Error& error);

}  // namespace lathe
