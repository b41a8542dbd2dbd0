#include "lathe/serve/run_view.h"

#include <signal.h>

#include <algorithm>
#include <filesystem>
#include <map>

#include "lathe/base/hash.h"

namespace lathe {
namespace {

namespace fs = std::filesystem;

template <typename Visit>
void each_file(const std::string& folder, const Visit& visit) {
  std::error_code error;
  auto it = fs::recursive_directory_iterator(folder, error);
  for (; !error && it != fs::recursive_directory_iterator(); it.increment(error)) {
    if (it->path().filename() == "model") it.disable_recursion_pending();
    visit(it->path());
  }
}

int64_t changed_at(const fs::path& path) {
  std::error_code error;
  const auto time = fs::last_write_time(path, error);
  return error ? 0 : static_cast<int64_t>(time.time_since_epoch().count());
}

std::string text_in(const nlohmann::json& j, const char* key) {
  const auto it = j.find(key);
  return it != j.end() && it->is_string() ? it->get<std::string>() : "";
}

std::string experiment_of(const Run& run) {
  return run.experiment.is_object() ? text_in(run.experiment, "name") : "";
}

// A process that has died leaves its progress behind.
bool alive(const nlohmann::json& progress) {
  const auto pid = progress.find("pid");
  return pid != progress.end() && pid->is_number_integer() && pid->get<int64_t>() > 0 &&
         kill(static_cast<pid_t>(pid->get<int64_t>()), 0) == 0;
}

nlohmann::json live_of(const fs::path& plan_path, const std::vector<Run>& runs) {
  const RunFolder sweep(plan_path.parent_path().string());
  const auto plan = sweep.read("plan.json");
  if (!plan.ok() || !plan->is_object() || !plan->contains("runs") || !(*plan)["runs"].is_array()) {
    return {};
  }
  nlohmann::json out = {{"begun", text_in(*plan, "begun")}, {"runs", nlohmann::json::array()}};
  for (const auto& planned : (*plan)["runs"]) {
    if (!planned.is_object()) continue;
    const std::string id = text_in(planned, "id");
    nlohmann::json row = {{"id", id}, {"state", "waiting"}};
    if (planned.contains("seconds")) row["seconds"] = planned["seconds"];
    for (const Run& run : runs) {
      if (run.id == id) row["state"] = run.status;
    }
    // The plan names runs; a folder is only looked into where it lies inside the sweep's own.
    const fs::path folder = (fs::path(sweep.path()) / id).lexically_normal();
    const fs::path root = fs::path(sweep.path()).lexically_normal();
    const bool inside =
        std::mismatch(root.begin(), root.end(), folder.begin(), folder.end()).first == root.end();
    const auto progress =
        inside ? RunFolder(folder.string()).read("progress.json") : Result<nlohmann::json>(Error{});
    if (progress.ok() && progress->is_object() && alive(*progress)) {
      row["state"] = "running";
      for (const char* key : {"phase", "done", "total", "elapsed_ms", "rss_bytes"}) {
        if (progress->contains(key)) row[key] = (*progress)[key];
      }
    }
    out["runs"].push_back(std::move(row));
  }
  return out;
}

}  // namespace

Result<RunView> view_runs(const std::vector<std::string>& folders, const std::string& experiment) {
  std::vector<Run> all;
  std::vector<std::string> broken;
  std::map<std::string, int64_t> changed;
  std::map<std::string, fs::path> plans;
  for (const std::string& folder : folders) {
    std::error_code error;
    if (!fs::is_directory(folder, error)) {
      return not_found("{}: no such folder", folder)
          .with_hint("give the folder that a sweep writes, or will write");
    }
    each_file(folder, [&](const fs::path& path) {
      const std::string name = path.filename().string();
      if (name == "plan.json") {
        const auto plan = RunFolder(path.parent_path().string()).read(name);
        if (!plan.ok() || !plan->is_object()) return;
        const std::string of = text_in(*plan, "name");
        if (of.empty()) return;
        plans[of] = path;
        changed[of] = std::max(changed[of], changed_at(path));
      }
      if (name != "run.json") return;
      const auto json = RunFolder(path.parent_path().string()).read(name);
      auto run = json.ok() ? run_from_json(*json) : Result<Run>(json.error());
      if (!run.ok()) {
        broken.push_back(path.string() + ": " + run.error().message);
        return;
      }
      run->folder = path.parent_path().string();
      const std::string of = experiment_of(*run);
      changed[of] = std::max(changed[of], changed_at(path));
      all.push_back(std::move(*run));
    });
  }
  RunView view;
  for (const auto& [name, time] : changed) view.experiments.push_back(name);
  std::stable_sort(view.experiments.begin(), view.experiments.end(),
                   [&](const auto& a, const auto& b) { return changed[a] > changed[b]; });
  if (view.experiments.empty()) view.experiments.push_back("");
  view.experiment = view.experiments[0];
  for (const std::string& name : view.experiments) {
    if (!experiment.empty() && name == experiment) view.experiment = name;
  }
  for (Run& run : all) {
    if (experiment_of(run) == view.experiment) view.runs.push_back(std::move(run));
  }
  const auto order = [](const Run& run) {
    const auto it =
        run.experiment.is_object() ? run.experiment.find("order") : run.experiment.end();
    return run.experiment.is_object() && it != run.experiment.end() && it->is_number_integer()
               ? it->get<int64_t>()
               : int64_t{0};
  };
  std::sort(view.runs.begin(), view.runs.end(), [&](const Run& a, const Run& b) {
    return std::pair(order(a), a.folder) < std::pair(order(b), b.folder);
  });
  if (const auto plan = plans.find(view.experiment); plan != plans.end()) {
    view.live = live_of(plan->second, view.runs);
  }
  if (!broken.empty()) {
    if (!view.live.is_object()) view.live = {{"runs", nlohmann::json::array()}};
    view.live["broken"] = broken;
  }
  return view;
}

std::string version_of(const std::vector<std::string>& folders) {
  std::string all;
  for (const std::string& folder : folders) {
    each_file(folder, [&](const fs::path& path) {
      const std::string name = path.filename().string();
      if (name != "run.json" && name != "plan.json" && name != "progress.json") return;
      all += path.string() + " " + std::to_string(changed_at(path)) + "\n";
    });
  }
  return sha256_hex(all).substr(0, 16);
}

}  // namespace lathe
