// The self-contained HTML page: the built template of web/ with the runs' data put in.
#pragma once

#include <string>
#include <vector>

#include "lathe/track/run_store.h"

namespace lathe {

// Fails only if the template is not the one this program was built with.
Result<std::string> html_report(const std::vector<Run>& runs, const std::string& title);

}  // namespace lathe
