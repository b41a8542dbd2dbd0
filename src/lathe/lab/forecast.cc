#include "lathe/lab/forecast.h"

#include <algorithm>
#include <filesystem>

#include "lathe/base/parse_json.h"
#include "lathe/track/run_store.h"

namespace lathe {
namespace {

namespace fs = std::filesystem;

// Of a model that anybody could have measured; what a file says beyond that is not believed.
constexpr int64_t kMostParameters = int64_t{1} << 50;

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

}  // namespace

Forecast::Forecast(const std::string& runs_folder) {
  std::error_code error;
  auto it = fs::recursive_directory_iterator(runs_folder, error);
  for (; !error && it != fs::recursive_directory_iterator(); it.increment(error)) {
    if (it->path().filename() == "model") it.disable_recursion_pending();
    if (it->path().filename() != "measured.json") continue;
    const RunFolder folder(it->path().parent_path().string());
    const auto measured = folder.read("measured.json");
    if (!measured.ok() || !measured->is_object() || !measured->contains("timings")) continue;
    try {
      const int64_t parameters = member_or(*measured, "parameters", int64_t{0});
      if (parameters < 1 || parameters > kMostParameters) continue;
      for (const auto& t : measured->at("timings")) {
        const int64_t samples = member_or(t, "samples", int64_t{0}),
                      timed = member_or(t, "timed", int64_t{1});
        if (timed < 1) continue;
        timed_[t.at("name").get<std::string>()].push_back(
            {parameters, t.at("seconds").get<double>() / static_cast<double>(timed), samples});
      }
    } catch (const nlohmann::json::exception&) {
      continue;  // not ours, or older
    }
  }
}

Forecast::Answer Forecast::ask(const VariantSpec& variant, int64_t parameters) const {
  Answer answer;
  double total = 0;
  size_t runs = SIZE_MAX;
  bool same_model = true;
  const auto add = [&](const std::string& name, const nlohmann::json* task) {
    const auto found = timed_.find(name);
    if (found == timed_.end()) {
      answer.basis = fmt::format("nothing has run {} yet", name.substr(name.find('/') + 1));
      return false;
    }
    std::vector<double> own, scaled;
    int64_t samples = 1;
    for (const Timed& t : found->second) {
      samples = std::max(samples, t.samples);
      if (std::abs(t.parameters - parameters) * 200 < parameters) own.push_back(t.seconds);
      const double ratio = static_cast<double>(parameters) / static_cast<double>(t.parameters);
      if (t.parameters > 0) scaled.push_back(t.seconds * ratio);
    }
    if (own.empty() && scaled.empty()) return false;
    same_model &= !own.empty();
    const std::vector<double>& used = own.empty() ? scaled : own;
    runs = std::min(runs, used.size());
    if (task) {
      const auto limit = task->find("limit");
      const bool limited = limit != task->end() && limit->is_number_integer() && *limit > 0;
      if (limited) samples = limit->get<int64_t>();
    } else {
      samples = 1;
    }
    total += median(used) * static_cast<double>(samples);
    return true;
  };
  for (const auto& task : variant.tasks) {
    if (!add("task/" + task.name, &task.parameters)) return answer;
  }
  for (const auto& probe : variant.probes) {
    if (!add("probe/" + probe.name, nullptr)) return answer;
  }
  if (timed_.contains("load")) add("load", nullptr);
  if (!variant.recipe.empty() && timed_.contains("compress")) add("compress", nullptr);
  answer.seconds = total;
  answer.basis = fmt::format("{} run{} of {}", runs, runs == 1 ? "" : "s",
                             same_model ? "this model" : "other models, by size");
  return answer;
}

}  // namespace lathe
