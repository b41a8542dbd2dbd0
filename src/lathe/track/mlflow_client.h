// The calls of MLflow's REST interface that a tracker needs
// (https://mlflow.org/docs/latest/rest-api.html). Credentials as MLflow's own client takes them:
// MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD.
#pragma once

#include <optional>
#include <string>

#include "lathe/io/rest.h"
#include "lathe/track/record.h"

namespace lathe {

struct MlflowRun {
  std::string id, artifact_uri, digest, status;
};

class MlflowClient {
 public:
  // `url`: of the server, "http://127.0.0.1:5000". `timeout_seconds`: for each call.
  static Result<MlflowClient> open(const std::string& url, int timeout_seconds);

  // Finds the experiment, or creates it. A deleted one of that name is an error.
  Result<std::string> experiment_id(const std::string& name) const;
  // The run whose tag "lathe.key" is `key`.
  Result<std::optional<MlflowRun>> find_run(const std::string& experiment,
                                            const std::string& key) const;
  Result<MlflowRun> create_run(const std::string& experiment, const std::string& name,
                               int64_t start_ms, const NamedTexts& tags) const;
  // In batches as the server takes them: at most 1000 items, 1000 metrics, 100 params, 100 tags and
  // 1 MB each.
  Status log(const std::string& run, const NamedTexts& params, const NamedTexts& tags,
             const std::vector<TrackedMetric>& metrics, int64_t timestamp_ms) const;
  // "RUNNING", "FINISHED", "FAILED"; end_ms 0: none.
  Status update_run(const std::string& run, const std::string& status, int64_t end_ms) const;
  // Where the server passes artifacts on, it is given them; where it names a folder of this
  // machine, they are copied there. Anything else is an error (kUnsupported) that names the place.
  Status put_artifact(const MlflowRun& run, const std::string& name, const std::string& path) const;

 private:
  Result<nlohmann::json> call(const std::string& method, const std::string& path,
                              const nlohmann::json& body) const;
  std::string base_, authorization_;
  int timeout_seconds_ = 20;
};

}  // namespace lathe
