// MLflow over REST to a running server: a sweep is a run, each variant a run nested in it. Runs are
// found again by their tag "lathe.key", so that nothing is written twice.
#include "lathe/base/log.h"
#include "lathe/base/version.h"
#include "lathe/track/kinds.h"
#include "lathe/track/mlflow_client.h"

#include <chrono>
#include <cstdlib>

#include "lathe/base/parse_number.h"

namespace lathe {
namespace {

int64_t now_ms() {
  using std::chrono::duration_cast, std::chrono::milliseconds, std::chrono::system_clock;
  return duration_cast<milliseconds>(system_clock::now().time_since_epoch()).count();
}

NamedTexts first_tags(const std::string& name, const std::string& key) {
  return {{"mlflow.runName", name},
          {"mlflow.source.name", "lathe"},
          {"mlflow.source.type", "LOCAL"},
          {"lathe.version", kVersion},
          {"lathe.key", key}};
}

class Mlflow : public Tracker {
 public:
  explicit Mlflow(MlflowClient client) : client_(std::move(client)) {}

  Status begin(const SweepRecord& sweep) override {
    LATHE_TRY(experiment_, client_.experiment_id(sweep.name));
    LATHE_TRY(auto found, client_.find_run(experiment_, sweep.key));
    if (!found) {
      LATHE_TRY(found, client_.create_run(experiment_, sweep.name, sweep.started_ms,
                                          first_tags(sweep.name, sweep.key)));
    }
    parent_ = *found;
    LATHE_OK(client_.update_run(parent_.id, "RUNNING", 0));
    return client_.log(parent_.id, sweep.params, {}, {}, now_ms());
  }

  Status log(const SweepRecord&, const RunRecord& run) override {
    runs_.emplace_back(run.name, run.failed);
    LATHE_TRY(auto found, client_.find_run(experiment_, run.key));
    const std::string status = run.failed ? "FAILED" : "FINISHED";
    if (found && found->digest == run.digest && found->status == status) return {};
    // A run that was cut off while it was written has no digest yet: its figures go in again under
    // the same times, which the server keeps once. New figures of a finished run get newer times.
    const bool changed = found && !found->digest.empty();
    if (!found) {
      NamedTexts tags = first_tags(run.name, run.key);
      tags.emplace_back("mlflow.parentRunId", parent_.id);
      LATHE_TRY(found, client_.create_run(experiment_, run.name, run.started_ms, tags));
    }
    LATHE_OK(client_.log(found->id, run.params, run.tags, run.metrics,
                         changed ? now_ms() : run.ended_ms));
    LATHE_OK(put_artifacts(*found, run.artifacts));
    LATHE_OK(client_.log(found->id, {}, {{"lathe.digest", run.digest}}, {}, 0));
    return client_.update_run(found->id, status, run.ended_ms);
  }

  Status end(const SweepRecord& sweep, bool failed) override {
    LATHE_OK(put_artifacts(parent_, sweep.artifacts));
    double failures = 0;
    for (const auto& [name, bad] : runs_) failures += bad ? 1 : 0;
    const int64_t now = now_ms();
    LATHE_OK(client_.log(
        parent_.id, {}, {},
        {{"sweep/runs", static_cast<double>(runs_.size())}, {"sweep/failed", failures}}, now));
    return client_.update_run(parent_.id, failed ? "FAILED" : "FINISHED", now);
  }

 private:
  // Where artifacts cannot go, figures still can: said once, and no reason to hold a run back.
  Status put_artifacts(const MlflowRun& run, const NamedTexts& artifacts) {
    for (const auto& [name, path] : artifacts) {
      const Status put = client_.put_artifact(run, name, path);
      if (put.ok()) continue;
      if (put.error().code != ErrorCode::kUnsupported) return put;
      if (!said_) spdlog::warn("mlflow: {} ({})", put.error().message, put.error().hint);
      said_ = true;
      break;
    }
    return {};
  }

  MlflowClient client_;
  std::string experiment_;
  MlflowRun parent_;
  std::vector<std::pair<std::string, bool>> runs_;
  bool said_ = false;
};

Result<std::unique_ptr<Tracker>> open(const std::string& target) {
  const char* text = std::getenv("LATHE_TRACK_TIMEOUT");
  const auto seconds = parse_number<int>(text ? text : "20");
  if (!seconds || *seconds < 1) {
    return bad_input("LATHE_TRACK_TIMEOUT must be a whole number of seconds, 1 or more");
  }
  LATHE_TRY(MlflowClient client, MlflowClient::open(target, *seconds));
  return std::unique_ptr<Tracker>(std::make_unique<Mlflow>(std::move(client)));
}

}  // namespace

TrackerKind mlflow_kind() { return {"mlflow", "URL", "a running MLflow server", open}; }

}  // namespace lathe
