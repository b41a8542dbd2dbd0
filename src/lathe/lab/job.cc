// A run's own process: load, evaluate, measure.
#include <chrono>

#include "lathe/base/log.h"
#include "lathe/base/progress.h"
#include "lathe/eval/task.h"
#include "lathe/lab/sweep.h"
#include "lathe/profile/environment.h"
#include "lathe/profile/probe.h"

namespace lathe {
namespace {

int64_t now_ms() {
  using std::chrono::duration_cast, std::chrono::milliseconds, std::chrono::system_clock;
  return duration_cast<milliseconds>(system_clock::now().time_since_epoch()).count();
}

Status run_task(const Engine& engine, const nlohmann::json& entry, const RunFolder& folder,
                SampleLog& log, nlohmann::json& preflights) {
  const auto name = entry["name"].get<std::string>();
  LATHE_TRY(const auto task, make_task(name, entry["parameters"]));
  LATHE_OK_IN(task->prepare(engine), name);
  preflights[name] = task->preflight();
  for (const auto& warning : task->preflight()["warnings"]) {
    spdlog::warn("{}: {}", name, warning.get<std::string>());
  }
  std::set<std::string> done;
  LATHE_TRY(const auto samples, folder.samples());
  if (const auto it = samples.find(name); it != samples.end()) {
    for (const Sample& sample : it->second) done.insert(sample.id);
  }
  Progress progress(name, task->sample_count(), "samples");
  progress.set(static_cast<int64_t>(done.size()));
  return task->run(engine, done, [&](Sample sample) -> Status {
    LATHE_OK(log.append(sample, name));
    progress.advance();
    return {};
  });
}

}  // namespace

Status run_job(const std::string& path) {
  const RunFolder folder(path);
  const int64_t started_ms = now_ms();
  LATHE_TRY(const nlohmann::json job, folder.read("job.json"));
  EngineOptions options;
  options.device = job["device"].get<std::string>();
  options.threads = job["threads"].get<int>();
  options.context = job["context"].get<int64_t>();
  LATHE_TRY(options.kv, parse_kv_type(job["kv"].get<std::string>()));
  const auto model_path = job["model_path"].get<std::string>();
  LATHE_TRY(const Engine engine, open_engine(model_path, options));
  LATHE_TRY(SampleLog log, SampleLog::open(folder));
  nlohmann::json preflights = nlohmann::json::object();
  for (const auto& task : job["tasks"]) LATHE_OK(run_task(engine, task, folder, log, preflights));

  LATHE_TRY(const auto checkpoint, open_checkpoint(model_path));
  nlohmann::json rows = nlohmann::json::array();
  for (const ProbeKind& kind : probe_kinds()) {
    for (const auto& probe : job["probes"]) {
      if (probe["name"] != kind.name) continue;
      LATHE_TRY(const auto measured,
                run_probe(kind.name, {engine, *checkpoint}, probe["parameters"]));
      for (const Measurement& m : measured) rows.push_back(to_json(m));
    }
  }
  return folder.write("measured.json",
                      {{"started_ms", started_ms},
                       {"ended_ms", now_ms()},
                       {"environment", environment_of(engine, job["seed"].get<uint64_t>())},
                       {"parameters", engine.model->parameters},
                       {"format", engine.model->format},
                       {"preflight", preflights},
                       {"results", rows}});
}

}  // namespace lathe
