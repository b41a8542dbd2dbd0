#include "lathe/lab/sweep_verdicts.h"

#include <map>
#include <tuple>

#include "lathe/eval/task.h"

namespace lathe {
namespace {

// What tells one column of the table from another.
using Family = std::tuple<std::string, std::string, std::string, std::string>;

std::string text_in(const nlohmann::json& facts, const char* key) {
  if (!facts.is_object()) return "";
  const auto it = facts.find(key);
  return it != facts.end() && it->is_string() ? it->get<std::string>() : "";
}

}  // namespace

void correct_verdicts(std::vector<Run>& runs) {
  std::map<Family, std::vector<Measurement*>> families;
  for (Run& run : runs) {
    if (run.status == "failed") continue;
    const std::string experiment = text_in(run.experiment, "name");
    for (Measurement& m : run.results) {
      families[{experiment, m.task, m.metric, text_in(m.extra, "convention")}].push_back(&m);
    }
  }
  for (auto& [family, rows] : families) holm_correct(rows);
}

}  // namespace lathe
