// The self-contained HTML page: the built template of web/ with the runs' data put in.
#pragma once

#include <string>
#include <vector>

#include "lathe/track/run_store.h"

namespace lathe {

// What the page shows (web/src/data.ts has its shape): the runs, and their memory over time.
nlohmann::json report_data(const std::vector<Run>& runs, const std::string& title);
// The page with some data in it. `live`: it may ask the server that it came from for newer data.
// Fails only if the template is not the one this program was built with.
Result<std::string> report_page(const nlohmann::json& data, bool live);

Result<std::string> html_report(const std::vector<Run>& runs, const std::string& title);

}  // namespace lathe
