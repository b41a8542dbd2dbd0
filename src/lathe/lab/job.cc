// A run's own process: load, evaluate, measure.
#include <algorithm>
#include <chrono>

#include "lathe/base/log.h"
#include "lathe/base/progress.h"
#include "lathe/eval/task.h"
#include "lathe/io/atomic_file.h"
#include "lathe/lab/job_watch.h"
#include "lathe/lab/sweep.h"
#include "lathe/profile/environment.h"
#include "lathe/profile/phases.h"
#include "lathe/profile/probe.h"

namespace lathe {
namespace {

int64_t now_ms() {
  using std::chrono::duration_cast, std::chrono::milliseconds, std::chrono::system_clock;
  return duration_cast<milliseconds>(system_clock::now().time_since_epoch()).count();
}

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

Status run_task(const Engine& engine, const nlohmann::json& entry, const RunFolder& folder,
                SampleLog& log, JobWatch& watch, nlohmann::json& preflights,
                nlohmann::json& timings) {
  const auto start = std::chrono::steady_clock::now();
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
  auto count = static_cast<int64_t>(done.size());
  progress.set(count);
  watch.phase(name, task->sample_count(), false);
  watch.done(count);
  LATHE_OK(task->run(engine, done, [&](Sample sample) -> Status {
    LATHE_OK(log.append(sample, name));
    progress.advance();
    watch.done(++count);
    return {};
  }));
  timings.push_back({{"name", "task/" + name},
                     {"seconds", seconds_since(start)},
                     {"samples", task->sample_count()},
                     {"timed", count - static_cast<int64_t>(done.size())}});
  return {};
}

// Where the time of the latency probe goes, operation by operation, for chrome://tracing and
// ui.perfetto.dev. After all probes: what it holds must not be in their figures.
Status write_trace(const Engine& engine, const nlohmann::json& probes, const RunFolder& folder,
                   JobWatch& watch) {
  constexpr int64_t kMostSteps = 16;  // those that follow look the same
  for (const auto& probe : probes) {
    if (probe["name"] != "latency") continue;
    watch.phase("trace", 0, true);
    const auto& p = probe["parameters"];
    LATHE_TRY(const Phases phases, time_phases(engine, p["prompt"].get<int64_t>(),
                                               std::min(p["generate"].get<int64_t>(), kMostSteps)));
    return write_atomically(folder.file("trace.json"), chrome_trace(phases).dump() + "\n");
  }
  return {};
}

}  // namespace

Status run_job(const std::string& path) {
  const RunFolder folder(path);
  const int64_t started_ms = now_ms();
  LATHE_TRY(const nlohmann::json job, folder.read("job.json"));
  JobWatch watch(folder);
  nlohmann::json timings = nlohmann::json::array();
  const auto time = [&](const std::string& name, std::chrono::steady_clock::time_point start) {
    timings.push_back({{"name", name}, {"seconds", seconds_since(start)}});
  };
  const auto loading = std::chrono::steady_clock::now();
  EngineOptions options;
  options.device = job["device"].get<std::string>();
  options.threads = job["threads"].get<int>();
  options.context = job["context"].get<int64_t>();
  LATHE_TRY(options.kv, parse_kv_type(job["kv"].get<std::string>()));
  const auto model_path = job["model_path"].get<std::string>();
  // Scores are made in exact arithmetic, speeds in the fast one that people run.
  options.math = Math::kExact;
  LATHE_TRY(Engine engine, open_engine(model_path, options));
  time("load", loading);
  if (const double seconds = job.value("compress_seconds", 0.0); seconds > 0) {
    timings.push_back({{"name", "compress"}, {"seconds", seconds}});
  }
  LATHE_TRY(SampleLog log, SampleLog::open(folder));
  nlohmann::json preflights = nlohmann::json::object();
  for (const auto& task : job["tasks"]) {
    LATHE_OK(run_task(engine, task, folder, log, watch, preflights, timings));
  }

  const nlohmann::json environment = environment_of(engine, job["seed"].get<uint64_t>());
  if (!job["probes"].empty()) {
    options.math = Math::kFast;
    engine = {};
    LATHE_TRY(engine, open_engine(model_path, options));
  }
  LATHE_TRY(const auto checkpoint, open_checkpoint(model_path));
  nlohmann::json rows = nlohmann::json::array();
  for (const ProbeKind& kind : probe_kinds()) {
    for (const auto& probe : job["probes"]) {
      if (probe["name"] != kind.name) continue;
      watch.phase(kind.name, 0, true);
      const auto start = std::chrono::steady_clock::now();
      LATHE_TRY(const auto measured,
                run_probe(kind.name, {engine, *checkpoint}, probe["parameters"]));
      time("probe/" + kind.name, start);
      for (const Measurement& m : measured) rows.push_back(to_json(m));
    }
  }
  LATHE_OK(write_trace(engine, job["probes"], folder, watch));
  return folder.write("measured.json", {{"started_ms", started_ms},
                                        {"ended_ms", now_ms()},
                                        {"environment", environment},
                                        {"parameters", engine.model->parameters},
                                        {"format", engine.model->format},
                                        {"preflight", preflights},
                                        {"timings", timings},
                                        {"results", rows}});
}

}  // namespace lathe
