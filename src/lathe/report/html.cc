#include "lathe/report/html.h"

#include <nlohmann/json.hpp>

#include "lathe/base/parse_json.h"
#include "lathe/base/version.h"

// web/dist/report.html as it stands, put into the program by the build (cmake/embed.cmake).
extern "C" const char lathe_report_page[];
extern "C" const char lathe_report_page_end[];

namespace lathe {

nlohmann::json report_data(const std::vector<Run>& runs, const std::string& title) {
  nlohmann::json data = {{"lathe", kVersion}, {"title", title}, {"runs", nlohmann::json::array()}};
  for (const Run& run : runs) {
    nlohmann::json entry = to_json(run);
    const RunFolder folder(run.folder);
    if (!run.folder.empty() && folder.has("memory.json")) {
      const auto memory = folder.read("memory.json");  // a timeline that is broken is not shown
      if (memory.ok() && memory->is_object()) entry["memory"] = *memory;
    }
    entry["has_trace"] = !run.folder.empty() && folder.has("trace.json");
    data["runs"].push_back(std::move(entry));
  }
  if (!runs.empty() && runs[0].experiment.is_object()) {
    data["experiment"] = runs[0].experiment;
    data["created"] = member_or(runs[0].experiment, "created", "");
  }
  return data;
}

Result<std::string> report_page(const nlohmann::json& data, bool live) {
  // Every '<' is escaped, so that no text in the data can end the script element.
  std::string json;
  for (const char c : data.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)) {
    if (c == '<') {
      json += "\\u003c";
    } else {
      json += c;
    }
  }
  std::string page(lathe_report_page,
                   static_cast<size_t>(lathe_report_page_end - lathe_report_page));
  if (live) {
    constexpr std::string_view kNone = "connect-src 'none'", kSelf = "connect-src 'self'";
    const size_t at = page.find(kNone);
    if (at == std::string::npos) return failed("the report page has no policy for connections");
    page.replace(at, kNone.size(), kSelf);
  }
  constexpr std::string_view kPlace = "/*LATHE_DATA*/";
  const size_t at = page.find(kPlace);
  if (at == std::string::npos) return failed("the report page has no place for its data");
  return page.replace(at, kPlace.size(), json);
}

Result<std::string> html_report(const std::vector<Run>& runs, const std::string& title) {
  return report_page(report_data(runs, title), false);
}

}  // namespace lathe
