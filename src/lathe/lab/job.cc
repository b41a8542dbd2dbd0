// A run's own process: load, evaluate, measure.
#include <algorithm>
#include <chrono>
#include <optional>

#include "lathe/base/log.h"
#include "lathe/base/parse_json.h"
#include "lathe/base/progress.h"
#include "lathe/eval/overlap.h"
#include "lathe/eval/task.h"
#include "lathe/io/atomic_file.h"
#include "lathe/lab/job_watch.h"
#include "lathe/lab/machine_ceilings.h"
#include "lathe/lab/sweep.h"
#include "lathe/profile/environment.h"
#include "lathe/profile/phases.h"
#include "lathe/profile/probe.h"
#include "lathe/profile/roofline.h"

namespace lathe {
namespace {

int64_t now_ms() {
  using std::chrono::duration_cast, std::chrono::milliseconds, std::chrono::system_clock;
  return duration_cast<milliseconds>(system_clock::now().time_since_epoch()).count();
}

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// The process of a run: what it writes to, and what it has found so far.
struct Job {
  const RunFolder& folder;
  const SamplesByTask& samples;  // of earlier starts
  SampleLog& log;
  JobWatch& watch;
  const std::optional<Overlap>& calibration;  // of a variant that was calibrated
  nlohmann::json preflights, timings, rows;
  nlohmann::json failures = nlohmann::json::array();
};

nlohmann::json named(const std::string& name, const Error& error) {
  return {{"name", name},
          {"error", error.hint.empty() ? error.message : error.message + " (" + error.hint + ")"},
          {"code", static_cast<int>(error.code)}};
}

// `lost`: what is wrong with the log of samples, which ends the run; any other error is the task's
// own.
Status run_task(const Engine& engine, const nlohmann::json& entry, Job& job, Status& lost) {
  const auto start = std::chrono::steady_clock::now();
  const auto name = entry["name"].get<std::string>();
  LATHE_TRY(const auto task, make_task(name, entry["parameters"]));
  LATHE_OK(task->prepare(engine));
  nlohmann::json preflight = task->preflight();
  if (job.calibration) {
    LATHE_TRY(const auto overlap, job.calibration->of_files(task->input_files()));
    add_overlap(overlap, preflight);
  }
  for (const auto& warning : preflight["warnings"]) {
    spdlog::warn("{}: {}", name, warning.get<std::string>());
  }
  std::set<std::string> done;
  if (const auto it = job.samples.find(name); it != job.samples.end()) {
    for (const Sample& sample : it->second) done.insert(sample.id);
  }
  Progress progress(name, task->sample_count(), "samples");
  auto count = static_cast<int64_t>(done.size());
  progress.set(count);
  job.watch.phase(name, task->sample_count(), false);
  job.watch.done(count);
  LATHE_OK(task->run(engine, done, [&](Sample sample) -> Status {
    if (lost = job.log.append(sample, name); !lost.ok()) return lost;
    progress.advance();
    job.watch.done(++count);
    return {};
  }));
  // Prompts may be counted while the task runs; what it says now holds.
  const nlohmann::json overlap = member_or(preflight, "calibration_overlap", nlohmann::json());
  preflight = task->preflight();
  if (!overlap.is_null()) add_overlap(overlap, preflight);
  job.preflights[name] = std::move(preflight);
  job.timings.push_back({{"name", "task/" + name},
                         {"seconds", seconds_since(start)},
                         {"samples", task->sample_count()},
                         {"timed", count - static_cast<int64_t>(done.size())}});
  return {};
}

// The scores that a model of its own gives to the samples, into samples.jsonl. Needs the log
// closed. A task that cannot be judged has failed.
Status judge_tasks(const nlohmann::json& tasks, const EngineOptions& options,
                   const RunFolder& folder, JobWatch& watch, nlohmann::json& preflights,
                   nlohmann::json& failures, nlohmann::json& timings) {
  std::unique_ptr<Ops> ops;
  SamplesByTask all;
  for (const auto& entry : tasks) {
    const auto name = entry["name"].get<std::string>();
    LATHE_TRY(const auto task, make_task(name, entry["parameters"]));
    // Judged by an earlier start, or failed.
    if (!preflights.contains(name) || preflights[name].contains("coherence")) continue;
    if (task->judge_files().empty()) continue;
    const auto start = std::chrono::steady_clock::now();
    if (!ops) {
      LATHE_TRY(ops, make_ops(options));
      LATHE_TRY(all, folder.samples());
    }
    std::vector<Sample>& samples = all[name];
    const size_t known = member_or(preflights[name], "warnings", nlohmann::json::array()).size();
    watch.phase(name + " judged", std::ssize(samples), false);
    if (const Status status = task->judge(samples, *ops, preflights[name]); !status.ok()) {
      preflights.erase(name);
      failures.push_back(named("task/" + name, status.error()));
      continue;
    }
    const auto& warnings = preflights[name]["warnings"];
    for (size_t i = known; i < warnings.size(); ++i) {
      spdlog::warn("{}: {}", name, warnings[i].get<std::string>());
    }
    timings.push_back({{"name", "judge/" + name},
                       {"seconds", seconds_since(start)},
                       {"samples", std::ssize(samples)},
                       {"timed", std::ssize(samples)}});
  }
  return ops ? folder.write_samples(all) : Status();
}

// The new rows beside those of an earlier start, which this start measured only in part: of two
// peaks of memory the larger holds, of all else the newer.
void merge_rows(const nlohmann::json& measured, nlohmann::json& rows) {
  for (const auto& row : measured) {
    const auto same = [&](const nlohmann::json& old) {
      return member_or(old, "task", "") == row["task"] &&
             member_or(old, "metric", "") == row["metric"];
    };
    const auto it = std::find_if(rows.begin(), rows.end(), same);
    if (row["task"] != "memory" || it == rows.end()) {
      rows.push_back(row);
    } else if (row["value"].get<double>() > (*it)["value"].get<double>()) {
      *it = row;
    }
  }
}

// What the speeds just measured are of the machine's ceilings, where those are known and the job
// does not ask for the probe roofline, which measures more.
void add_ceiling_shares(const Engine& engine, const nlohmann::json& job,
                        const nlohmann::json& parameters, std::vector<Measurement>& latency) {
  const auto ceilings = ceilings_from_json(member_or(job, "ceilings", nlohmann::json()));
  const auto& probes = job["probes"];
  const bool asked = std::any_of(probes.begin(), probes.end(),
                                 [](const auto& p) { return p["name"] == "roofline"; });
  if (!ceilings || asked) return;
  for (Measurement& m : latency_ceiling_rows(*engine.model, parameters["prompt"].get<int64_t>(),
                                             parameters["generate"].get<int64_t>(), latency,
                                             *ceilings, engine.isa)) {
    latency.push_back(std::move(m));
  }
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
  if (const double seconds = member_or(job, "compress_seconds", 0.0); seconds > 0) {
    timings.push_back({{"name", "compress"}, {"seconds", seconds}});
  }
  // Started again after some of it failed, a run does that alone.
  nlohmann::json before = nlohmann::json::object();
  if (folder.has("measured.json")) {
    LATHE_TRY(before, folder.read("measured.json"));
  }
  const auto part = [&](const char* key, nlohmann::json empty) {
    return before.contains(key) ? before[key] : empty;
  };
  const bool first = before.empty();
  const auto wanted = [&](const std::string& name) {
    if (first) return true;
    const nlohmann::json failed_before = part("failures", nlohmann::json::array());
    return std::any_of(failed_before.begin(), failed_before.end(),
                       [&](const auto& f) { return member_or(f, "name", "") == name; });
  };
  LATHE_TRY(const SamplesByTask samples, folder.samples());
  std::optional<Overlap> calibration;
  if (const std::string path = member_or(job, "calibration", ""); !path.empty()) {
    LATHE_TRY(calibration, Overlap::with(path));
  }
  LATHE_TRY(std::optional<SampleLog> log, SampleLog::open(folder));
  for (auto& t : part("timings", nlohmann::json::array())) timings.push_back(std::move(t));
  Job work{folder,
           samples,
           *log,
           watch,
           calibration,
           part("preflight", nlohmann::json::object()),
           std::move(timings),
           part("results", nlohmann::json::array())};
  bool any_task = false;
  for (const auto& task : job["tasks"]) {
    const auto name = task["name"].get<std::string>();
    if (!wanted("task/" + name)) continue;
    any_task = true;
    Status lost;
    const Status status = run_task(engine, task, work, lost);
    LATHE_OK(lost);
    if (status.ok()) continue;
    work.preflights.erase(name);
    work.failures.push_back(named("task/" + name, status.error()));
  }

  const nlohmann::json environment = environment_of(engine, job["seed"].get<uint64_t>());
  if (!job["probes"].empty()) {
    options.math = Math::kFast;
    engine = {};
    LATHE_TRY(engine, open_engine(model_path, options));
  }
  LATHE_TRY(const auto checkpoint, open_checkpoint(model_path));
  nlohmann::json traced = nlohmann::json::array();
  for (const ProbeKind& kind : probe_kinds()) {
    for (const auto& probe : job["probes"]) {
      if (probe["name"] != kind.name) continue;
      const std::string name = "probe/" + kind.name;
      // A task that was missing may have moved the peak.
      if (!wanted(name) && !(kind.name == "memory" && any_task)) continue;
      watch.phase(kind.name, 0, true);
      const auto start = std::chrono::steady_clock::now();
      auto measured = run_probe(kind.name, {engine, *checkpoint}, probe["parameters"]);
      if (!measured.ok()) {
        work.failures.push_back(named(name, measured.error()));
        continue;
      }
      work.timings.push_back({{"name", name}, {"seconds", seconds_since(start)}});
      if (kind.name == "latency") {
        add_ceiling_shares(engine, job, probe["parameters"], *measured);
      }
      nlohmann::json rows = nlohmann::json::array();
      for (const Measurement& m : *measured) rows.push_back(to_json(m));
      merge_rows(rows, work.rows);
      traced.push_back(probe);
    }
  }
  LATHE_OK(write_trace(engine, traced, folder, watch));
  const int64_t parameters = engine.model->parameters;
  const std::string format = engine.model->format;
  // Last, and alone: the memory of what judges the answers is not the model's.
  engine = {};
  log.reset();
  options.math = Math::kExact;
  LATHE_OK(judge_tasks(job["tasks"], options, folder, watch, work.preflights, work.failures,
                       work.timings));
  return folder.write("measured.json", {{"started_ms", started_ms},
                                        {"ended_ms", now_ms()},
                                        {"environment", environment},
                                        {"parameters", parameters},
                                        {"format", format},
                                        {"preflight", work.preflights},
                                        {"timings", work.timings},
                                        {"failures", work.failures},
                                        {"results", work.rows}});
}

}  // namespace lathe
