#include "lathe/lab/sweep.h"

#include <algorithm>
#include <chrono>
#include <ctime>
#include <filesystem>

#include "lathe/base/hash.h"
#include "lathe/base/log.h"
#include "lathe/base/parse_json.h"
#include "lathe/base/threads.h"
#include "lathe/base/version.h"
#include "lathe/compress/compressor.h"
#include "lathe/eval/task.h"
#include "lathe/lab/finish_run.h"
#include "lathe/lab/machine_ceilings.h"
#include "lathe/lab/run_process.h"
#include "lathe/lab/sweep_verdicts.h"
#include "lathe/profile/environment.h"

namespace lathe {
namespace {

namespace fs = std::filesystem;

std::string now_text() {
  char text[32];
  const std::time_t now = std::time(nullptr);
  std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", std::gmtime(&now));
  return text;
}

nlohmann::json list_of(const std::vector<NamedParameters>& entries) {
  nlohmann::json out = nlohmann::json::array();
  for (const auto& e : entries) out.push_back({{"name", e.name}, {"parameters", e.parameters}});
  return out;
}

std::string text_of(const Error& error) {
  return error.hint.empty() ? error.message : error.message + " (" + error.hint + ")";
}

class Sweep {
 public:
  Sweep(const Experiment& experiment, const SweepOptions& options,
        const std::function<void(const Run&)>& on_run)
      : experiment_(experiment),
        options_(options),
        on_run_(on_run),
        jobs_(std::max(1, options.jobs)),
        threads_(threads_of_a_job(options)) {}

  Result<SweepOutcome> run() {
    LATHE_TRY(auto plan, plan_sweep(experiment_, options_));
    outcome_.folder = options_.runs_folder + "/" + experiment_.name;
    if (options_.shard.count > 1) {
      size_t place = 0;
      std::erase_if(plan, [&](const PlannedRun&) {
        return static_cast<int>(place++ % static_cast<size_t>(options_.shard.count)) !=
               options_.shard.index;
      });
    } else {
      (void)announce(plan);  // who looks on sees less; what a full disk means, the runs say
    }
    int64_t number = 0;
    for (const PlannedRun& planned : plan) {
      spdlog::info("[{}/{}] {}", ++number, plan.size(), planned.id);
      LATHE_OK(begin(planned));
    }
    while (!active_.empty()) LATHE_OK(wait_for_one());
    LATHE_CHECK(waiting_.empty());
    restore_file_order();
    correct_verdicts(outcome_.runs);
    return std::move(outcome_);
  }

 private:
  // A run between its beginning and its record.
  struct Job {
    const PlannedRun* planned;
    Run run;
    std::shared_ptr<RunLock> lock;
    RunProcess process;
    int attempts = 1;
  };

  static int threads_of_a_job(const SweepOptions& options) {
    const int all = options.threads > 0 ? options.threads : ThreadPool::available_cores();
    return std::max(1, all / std::max(1, options.jobs));
  }

  // The list of all runs, for those who look on.
  Status announce(const std::vector<PlannedRun>& plan) const {
    std::error_code error;
    fs::create_directories(outcome_.folder, error);
    if (error) return failed("{}: {}", outcome_.folder, error.message());
    nlohmann::json runs = nlohmann::json::array();
    for (const PlannedRun& p : plan) {
      runs.push_back({{"id", p.id},
                      {"variant", p.variant->name},
                      {"model", p.model},
                      {"order", p.order},
                      {"seconds", p.seconds ? nlohmann::json(*p.seconds) : nlohmann::json()}});
    }
    return RunFolder(outcome_.folder)
        .write("plan.json", {{"name", experiment_.name}, {"begun", now_text()}, {"runs", runs}});
  }

  Run identity_of(const PlannedRun& planned) const {
    Run run;
    run.id = planned.id;
    run.folder = planned.folder;
    run.variant = planned.variant->name;
    run.baseline = experiment_.baseline;
    run.recipe = to_json(planned.variant->recipe);
    run.model = {{"path", planned.model}};
    run.experiment = {{"name", experiment_.name},
                      {"baseline", experiment_.baseline},
                      {"yaml", experiment_.text},
                      {"order", planned.order}};
    return run;
  }

  // Opens and hashes a model once for all its variants.
  Status open_source(const std::string& model) {
    if (source_name_ == model) return {};
    source_name_.clear();
    LATHE_TRY(const std::string path, resolve_model(model));
    LATHE_TRY(source_, open_checkpoint(path));
    LATHE_TRY(source_description_, describe_model(*source_, 0));
    source_name_ = model;
    return {};
  }

  // A file that several runs read is read once. One that cannot be read counts as empty here: the
  // run itself says what is wrong.
  std::string file_hash(const std::string& path) {
    const auto [it, fresh] = file_hashes_.emplace(path, "");
    if (fresh) {
      if (auto hash = sha256_of_file(path); hash.ok()) it->second = std::move(*hash);
    }
    return it->second;
  }

  // The task's definition, data and judge, by content: edited, they make its samples stale.
  nlohmann::json inputs_of(const NamedParameters& entry) {
    nlohmann::json out = nlohmann::json::array();
    const auto task = make_task(entry.name, entry.parameters);
    if (!task.ok()) return out;
    out.push_back((*task)->definition());
    for (const std::string& file : (*task)->input_files()) out.push_back(file_hash(file));
    for (const std::string& file : (*task)->judge_files()) out.push_back(file_hash(file));
    return out;
  }

  std::string calibration_hash(const Recipe& recipe) {
    return recipe.calibration ? file_hash(recipe.calibration->file()) : "";
  }

  std::map<std::string, std::string> task_hashes(const PlannedRun& planned) {
    std::map<std::string, std::string> out;
    for (const auto& t : planned.variant->tasks) out[t.name] = sha256_hex(inputs_of(t).dump());
    return out;
  }

  // All that a run is made from but the content of its tasks.
  std::string hash_of(const PlannedRun& planned) {
    nlohmann::json tasks = nlohmann::json::array(), probes = nlohmann::json::array();
    for (const auto& t : planned.variant->tasks) {
      tasks.push_back({t.name, t.parameters});
    }
    for (const auto& p : planned.variant->probes) probes.push_back({p.name, p.parameters});
    return sha256_hex(nlohmann::json({{"lathe", kVersion},
                                      {"model", source_description_["hash"]},
                                      {"recipe", to_json(planned.variant->recipe)},
                                      {"calibration", calibration_hash(planned.variant->recipe)},
                                      {"tasks", tasks},
                                      {"probes", probes},
                                      {"seed", experiment_.seed},
                                      {"context", experiment_.context},
                                      {"kv", name_of(experiment_.kv)},
                                      {"threads", threads_},
                                      {"device", options_.device}})
                          .dump());
  }

  // Compresses here, evaluates in a process of its own. Returns once that is started (or failed, or
  // was done before); waits first where the other runs leave no place.
  Status begin(const PlannedRun& planned) {
    Job job{&planned, identity_of(planned)};
    if (!planned.problem.empty()) return end(std::move(job), bad_input("{}", planned.problem));
    if (auto opened = open_source(planned.model); !opened.ok()) return end(std::move(job), opened);
    job.run.model = source_description_;
    const RunFolder folder(planned.folder);
    auto lock = folder.lock();
    if (!lock.ok()) return end(std::move(job), lock.error());
    job.lock = std::make_shared<RunLock>(std::move(lock).value());
    if (auto begun = folder.begin(hash_of(planned), task_hashes(planned)); !begun.ok()) {
      return end(std::move(job), begun);
    }
    if (folder.complete()) {
      ++outcome_.reused;
      return end(std::move(job), {});
    }
    while (!active_.empty() && !room_for(planned)) LATHE_OK(wait_for_one());
    if (auto ready = prepare(planned, folder); !ready.ok()) return end(std::move(job), ready);
    const auto started = start_run_process(planned.folder);
    if (!started.ok()) return end(std::move(job), started.error());
    job.process = *started;
    active_.push_back(std::move(job));
    while (static_cast<int>(active_.size()) >= jobs_) LATHE_OK(wait_for_one());
    return {};
  }

  // What runs already may not have taken its memory yet, so that predictions count, not what is
  // free.
  bool room_for(const PlannedRun& planned) const {
    int64_t needed = planned.memory_bytes, held = 0;
    for (const Job& job : active_) {
      needed += job.planned->memory_bytes;
      const auto progress = RunFolder(job.planned->folder).read("progress.json");
      if (progress.ok() && progress->is_object()) {
        const auto rss = progress->find("rss_bytes");
        if (rss != progress->end() && rss->is_number_integer()) held += rss->get<int64_t>();
      }
    }
    return needed <= available_memory_bytes() + held;
  }

  Status prepare(const PlannedRun& planned, const RunFolder& folder) {
    std::string model_path = source_->path();
    double seconds = 0;
    if (!planned.variant->recipe.empty()) {
      model_path = folder.file("model");
      if (!folder.has("model/lathe.json")) {
        ThreadPool pool(threads_ * jobs_);
        LATHE_TRY(const auto report,
                  compress(*source_, planned.variant->recipe, model_path, pool, {}));
        seconds = report.seconds;
        spdlog::info("compressed to {:.2f} bits per weight in {:.1f} s", report.bits_per_weight,
                     report.seconds);
      }
    }
    LATHE_TRY(const nlohmann::json ceilings, ceilings_for(*planned.variant));
    return folder.write("job.json", {{"model_path", model_path},
                                     {"tasks", list_of(planned.variant->tasks)},
                                     {"probes", list_of(planned.variant->probes)},
                                     {"seed", experiment_.seed},
                                     {"context", experiment_.context},
                                     {"kv", name_of(experiment_.kv)},
                                     {"threads", threads_},
                                     {"device", options_.device},
                                     {"calibration", planned.variant->recipe.calibration
                                                         ? planned.variant->recipe.calibration->data
                                                         : ""},
                                     {"ceilings", ceilings},
                                     {"compress_seconds", seconds}});
  }

  // What speeds are held against. Measured while no run disturbs it, nor another worker of a spread
  // sweep.
  Result<nlohmann::json> ceilings_for(const VariantSpec& variant) {
    const bool timed = std::any_of(variant.probes.begin(), variant.probes.end(),
                                   [](const NamedParameters& p) { return p.name == "latency"; });
    if (!timed || !ceilings_.is_null()) return timed ? ceilings_ : nlohmann::json();
    const std::string file = options_.runs_folder + "/ceilings.json";
    ceilings_ = machine_ceilings(file, threads_, false);
    if (ceilings_.is_null() && options_.shard.count == 1) {
      while (!active_.empty()) LATHE_OK(wait_for_one());
      ceilings_ = machine_ceilings(file, threads_, true);
    }
    return ceilings_;
  }

  // Waits until one of the processes ends: the next attempt, or the end of its run.
  Status wait_for_one() {
    std::vector<RunProcess> processes;
    for (const Job& job : active_) processes.push_back(job.process);
    const auto at = static_cast<ptrdiff_t>(wait_for_any(processes));
    Job job = std::move(active_[static_cast<size_t>(at)]);
    active_.erase(active_.begin() + at);
    bool again = false;
    Status status = end_of(job.process, again);
    if (!status.ok() && again && job.attempts <= options_.retries) {
      const std::string reason = text_of(status.error());
      spdlog::warn("{}: {}; attempt {} goes on from the samples that are there", job.planned->id,
                   reason, job.attempts + 1);
      job.run.experiment["retried"].push_back(reason);
      ++job.attempts;
      const auto started = start_run_process(job.planned->folder);
      if (started.ok()) {
        job.process = *started;
        active_.push_back(std::move(job));
        return {};
      }
      status = started.error();
    }
    return end(std::move(job), std::move(status));
  }

  bool baseline_is_running(const PlannedRun& planned) const {
    return planned.variant->name != experiment_.baseline &&
           std::any_of(active_.begin(), active_.end(), [&](const Job& job) {
             return job.planned->model == planned.model &&
                    job.planned->variant->name == experiment_.baseline;
           });
  }

  // Comparisons need the baseline's samples: a run that ends before it waits for it.
  Status end(Job job, Status status) {
    if (status.ok() && baseline_is_running(*job.planned)) {
      waiting_.push_back(std::move(job));
      return {};
    }
    if (status.ok()) status = compare(job);
    LATHE_OK(record(std::move(job.run), *job.planned, status));
    std::vector<Job> ready;
    for (auto it = waiting_.begin(); it != waiting_.end();) {
      if (baseline_is_running(*it->planned)) {
        ++it;
      } else {
        ready.push_back(std::move(*it));
        it = waiting_.erase(it);
      }
    }
    for (Job& next : ready) LATHE_OK(end(std::move(next), {}));
    return {};
  }

  Status compare(Job& job) {
    const RunFolder folder(job.planned->folder);
    const bool is_baseline = job.planned->variant->name == experiment_.baseline;
    const auto baseline = baselines_.find(job.planned->model);
    LATHE_OK(finish_run(experiment_, folder,
                        is_baseline || baseline == baselines_.end() ? nullptr : &baseline->second,
                        job.run));
    if (is_baseline) {
      LATHE_TRY(SamplesByTask samples, folder.samples());
      for (const auto& failure : job.run.failures) {
        const auto name = failure["name"].get<std::string>();
        if (name.starts_with("task/")) samples.erase(name.substr(5));
      }
      baselines_[job.planned->model] = std::move(samples);
    }
    return {};
  }

  Status record(Run run, const PlannedRun& planned, const Status& status) {
    run.status = status.ok() ? "done" : "failed";
    bool no_room = !status.ok() && status.error().code == ErrorCode::kNoRoom;
    if (!status.ok()) {
      run.error = text_of(status.error());
    } else if (!run.failures.empty()) {
      run.status = run.results.empty() ? "failed" : "partial";
      no_room = true;
      for (const auto& f : run.failures) {
        if (!run.error.empty()) run.error += "; ";
        run.error += f["name"].get<std::string>() + ": " + f["error"].get<std::string>();
        no_room &= member_or(f, "code", int64_t{0}) == static_cast<int>(ErrorCode::kNoRoom);
      }
    }
    run.experiment["created"] = now_text();
    if (Status written = write_record(planned, run); !written.ok()) {
      // The first thing that went wrong says more: where the disk is full, both fail.
      return status.ok() ? written : status;
    }
    if (run.status != "done") {
      ++outcome_.failed;
      if (no_room) ++outcome_.no_room;
      if (run.failures.empty()) spdlog::error("{}: {}", planned.id, run.error);
      for (const auto& f : run.failures) {
        spdlog::error("{}: {}: {}", planned.id, f["name"].get<std::string>(),
                      f["error"].get<std::string>());
      }
    }
    if (on_run_) on_run_(run);
    outcome_.runs.push_back(std::move(run));
    return {};
  }

  Status write_record(const PlannedRun& planned, const Run& run) const {
    std::error_code error;
    fs::create_directories(planned.folder, error);
    if (error) return failed("{}: {}", planned.folder, error.message());
    const RunFolder folder(planned.folder);
    LATHE_OK(folder.write("run.json", to_json(run)));
    if (!options_.keep_models) fs::remove_all(folder.file("model"), error);
    return {};
  }

  void restore_file_order() {
    std::stable_sort(outcome_.runs.begin(), outcome_.runs.end(), [](const Run& a, const Run& b) {
      return a.experiment["order"].get<int64_t>() < b.experiment["order"].get<int64_t>();
    });
  }

  const Experiment& experiment_;
  const SweepOptions& options_;
  const std::function<void(const Run&)>& on_run_;
  int jobs_, threads_;
  SweepOutcome outcome_;
  std::string source_name_;
  std::unique_ptr<const Checkpoint> source_;
  nlohmann::json source_description_, ceilings_;
  std::map<std::string, SamplesByTask> baselines_;
  std::map<std::string, std::string> file_hashes_;
  std::vector<Job> active_, waiting_;
};

}  // namespace

Result<SweepOutcome> sweep(const Experiment& experiment, const SweepOptions& options,
                           const std::function<void(const Run&)>& on_run) {
  return Sweep(experiment, options, on_run).run();
}

}  // namespace lathe
