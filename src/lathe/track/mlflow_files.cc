// MLflow's file store: a folder that `mlflow ui --backend-store-uri FOLDER` opens, and that can be
// packed and taken along. Layout of MLflow's FileStore (mlflow/store/tracking/file_store.py). Ids
// come from the keys of sweeps and runs, so that a second export lands on the first.
#include <algorithm>
#include <filesystem>
#include <map>

#include "lathe/base/mapped_file.h"
#include "lathe/io/atomic_file.h"
#include "lathe/track/kinds.h"

namespace lathe {
namespace {

namespace fs = std::filesystem;

// A YAML scalar: JSON strings are valid YAML.
std::string quoted(const std::string& text) {
  return nlohmann::json(text).dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
}

Status write_file(const fs::path& path, const std::string& text) {
  std::error_code error;
  fs::create_directories(path.parent_path(), error);
  if (error) return failed("{}: {}", path.parent_path().string(), error.message());
  return write_atomically(path.string(), text);
}

class MlflowFiles : public Tracker {
 public:
  explicit MlflowFiles(std::string folder) : root_(fs::absolute(folder).lexically_normal()) {}

  Status begin(const SweepRecord& sweep) override {
    LATHE_TRY(experiment_, experiment_folder(sweep));
    // The sweep's own run is written at the end, when its figures are known.
    parent_ = sweep.key.substr(0, 32);
    return {};
  }

  Status log(const SweepRecord&, const RunRecord& run) override {
    failures_ += run.failed ? 1 : 0;
    ++runs_;
    last_ms_ = std::max(last_ms_, run.ended_ms);
    NamedTexts tags = run.tags;
    tags.emplace_back("mlflow.parentRunId", parent_);
    return write_run(run.key, run.name, run.failed, run.started_ms, run.ended_ms, run.params, tags,
                     run.metrics, run.artifacts);
  }

  Status end(const SweepRecord& sweep, bool failed) override {
    return write_run(sweep.key, sweep.name, failed, sweep.started_ms, last_ms_, sweep.params, {},
                     {{"sweep/runs", runs_}, {"sweep/failed", failures_}}, sweep.artifacts);
  }

 private:
  Result<std::string> experiment_folder(const SweepRecord& sweep) const {
    const std::string line = "name: " + quoted(sweep.name) + "\n";
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(root_, error)) {
      const auto meta = read_text((entry.path() / "meta.yaml").string(), size_t{1} << 20);
      if (meta.ok() && (meta->find(line) != std::string::npos ||
                        meta->find("name: " + sweep.name + "\n") != std::string::npos)) {
        return entry.path().string();
      }
    }
    uint64_t number = 0;
    for (const char c : sweep.key.substr(0, 14)) {
      number = number * 16 + static_cast<uint64_t>(c <= '9' ? c - '0' : c - 'a' + 10);
    }
    const std::string id = fmt::format("{:018}", number % 900'000'000'000'000'000ULL + 1);
    const fs::path folder = root_ / id;
    LATHE_OK(
        write_file(folder / "meta.yaml",
                   fmt::format("artifact_location: {}\ncreation_time: {}\nexperiment_id: '{}'\n"
                               "last_update_time: {}\nlifecycle_stage: active\n{}",
                               quoted("file://" + folder.string()), sweep.started_ms, id,
                               sweep.started_ms, line)));
    return folder.string();
  }

  Status write_run(const std::string& key, const std::string& name, bool failed, int64_t started_ms,
                   int64_t ended_ms, const NamedTexts& params, const NamedTexts& more_tags,
                   const std::vector<TrackedMetric>& metrics, const NamedTexts& artifacts) const {
    const std::string id = key.substr(0, 32);
    const fs::path folder = fs::path(experiment_) / id;
    std::error_code error;
    fs::remove_all(folder, error);
    for (const char* part : {"artifacts", "metrics", "params", "tags"}) {
      fs::create_directories(folder / part, error);
      if (error) return lathe::failed("{}: {}", (folder / part).string(), error.message());
    }
    for (const auto& [param, value] : params) {
      LATHE_OK(write_file(folder / "params" / param, value));
    }
    NamedTexts tags = more_tags;
    tags.emplace_back("mlflow.runName", name);
    tags.emplace_back("mlflow.source.name", "lathe");
    tags.emplace_back("mlflow.source.type", "LOCAL");
    tags.emplace_back("lathe.key", key);
    for (const auto& [tag, value] : tags) LATHE_OK(write_file(folder / "tags" / tag, value));
    std::map<std::string, std::string> lines;
    for (const TrackedMetric& m : metrics) {
      lines[m.key] += fmt::format("{} {} {}\n", ended_ms, m.value, m.step);
    }
    for (const auto& [metric, text] : lines) {
      LATHE_OK(write_file(folder / "metrics" / metric, text));
    }
    for (const auto& [artifact, path] : artifacts) {
      fs::copy_file(path, folder / "artifacts" / artifact, error);
      if (error) return lathe::failed("{}: {}", path, error.message());
    }
    const std::string experiment = fs::path(experiment_).filename().string();
    // The description comes last: a folder without it is not a run yet.
    return write_file(
        folder / "meta.yaml",
        fmt::format("artifact_uri: {}\nend_time: {}\nentry_point_name: ''\nexperiment_id: '{}'\n"
                    "lifecycle_stage: active\nrun_id: {}\nrun_name: {}\nrun_uuid: {}\n"
                    "source_name: ''\nsource_type: 4\nsource_version: ''\nstart_time: {}\n"
                    "status: {}\ntags: []\nuser_id: ''\n",
                    quoted("file://" + (folder / "artifacts").string()), ended_ms, experiment,
                    quoted(id), quoted(name), quoted(id), started_ms, failed ? 4 : 3));
  }

  fs::path root_;
  std::string experiment_, parent_;
  double runs_ = 0, failures_ = 0;
  int64_t last_ms_ = 0;
};

Result<std::unique_ptr<Tracker>> open(const std::string& target) {
  if (target.empty()) return bad_input("the folder's name is empty");
  return std::unique_ptr<Tracker>(std::make_unique<MlflowFiles>(target));
}

}  // namespace

TrackerKind mlflow_files_kind() {
  return {"mlflow_files", "FOLDER", "a folder in the layout of MLflow's file store", open};
}

}  // namespace lathe
