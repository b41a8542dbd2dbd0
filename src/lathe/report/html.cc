#include "lathe/report/html.h"

#include <nlohmann/json.hpp>

#include "lathe/base/version.h"

// web/dist/report.html as it stands, put into the program by the build (cmake/embed.cmake).
extern "C" const char lathe_report_page[];
extern "C" const char lathe_report_page_end[];

namespace lathe {

Result<std::string> html_report(const std::vector<Run>& runs, const std::string& title) {
  nlohmann::json data = {{"lathe", kVersion}, {"title", title}, {"runs", nlohmann::json::array()}};
  for (const Run& run : runs) data["runs"].push_back(to_json(run));
  if (!runs.empty() && runs[0].experiment.is_object()) {
    data["experiment"] = runs[0].experiment;
    data["created"] = runs[0].experiment.value("created", "");
  }
  // Every '<' is escaped, so that no text in the data can end the script element.
  std::string json;
  for (const char c : data.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)) {
    if (c == '<') {
      json += "\\u003c";
    } else {
      json += c;
    }
  }
  const std::string_view page(lathe_report_page,
                              static_cast<size_t>(lathe_report_page_end - lathe_report_page));
  constexpr std::string_view kPlace = "/*LATHE_DATA*/";
  const size_t at = page.find(kPlace);
  if (at == std::string_view::npos) return failed("the report page has no place for its data");
  return std::string(page.substr(0, at)) + json + std::string(page.substr(at + kPlace.size()));
}

}  // namespace lathe
