#include "lathe/lab/sweep.h"

#include <algorithm>
#include <optional>

#include "lathe/base/log.h"
#include "lathe/base/threads.h"
#include "lathe/cli/command.h"
#include "lathe/cli/outputs.h"
#include "lathe/cli/picker.h"
#include "lathe/lab/launcher.h"
#include "lathe/lab/run_process.h"
#include "lathe/report/table.h"

namespace lathe::cli {
namespace {

struct Options {
  std::string experiment;
  SweepOptions sweep;
  std::string only, skip, shard;
  Launch launch;
  bool dry_run = false, pick = false, discard_models = false;
};

int64_t largest(const std::vector<PlannedRun>& plan) {
  int64_t bytes = 0;
  for (const PlannedRun& run : plan) bytes = std::max(bytes, run.memory_bytes);
  return bytes;
}

Result<int> dry_run(const Experiment& experiment, const SweepOptions& options,
                    const Common& common) {
  LATHE_TRY(const auto plan, plan_sweep(experiment, options));
  nlohmann::json rows = nlohmann::json::array();
  std::optional<double> total = 0;
  std::vector<std::vector<std::string>> table = {
      {"run", "state", "weights", "memory", "time", "from"}};
  for (const PlannedRun& run : plan) {
    rows.push_back({{"id", run.id},
                    {"model", run.model},
                    {"state", run.state},
                    {"stored_bytes", run.stored_bytes},
                    {"memory_bytes", run.memory_bytes},
                    {"seconds", run.seconds ? nlohmann::json(*run.seconds) : nlohmann::json()},
                    {"basis", run.basis},
                    {"problem", run.problem},
                    {"folder", run.folder}});
    if (total) total = run.seconds ? std::optional(*total + *run.seconds) : std::nullopt;
    table.push_back({run.id, run.state, human(static_cast<double>(run.stored_bytes), "bytes"),
                     human(static_cast<double>(run.memory_bytes), "bytes"),
                     run.seconds ? time_text(*run.seconds) : "?",
                     run.problem.empty() ? run.basis : "cannot run: " + run.problem});
  }
  if (!common.json) {
    fmt::print("{}", plain_table(table, 2));
    fmt::print("in all: {}; largest process: {}\n",
               total ? time_text(*total) : "unknown until runs like these are there",
               human(static_cast<double>(largest(plan)), "bytes"));
  }
  if (common.json) print_json({{"command", "sweep"}, {"plan", rows}});
  return kDone;
}

void warn_of_neighbours(const Experiment& experiment) {
  for (const VariantSpec& variant : experiment.variants) {
    for (const NamedParameters& probe : variant.probes) {
      if (probe.name != "latency") continue;
      spdlog::warn(
          "--jobs: the latency probe measures beside other runs; its speeds hold for that alone");
      return;
    }
  }
}

Status launch_workers(const Options& options, const Experiment& experiment,
                      const SweepOptions& sweep) {
  LATHE_TRY(const auto plan, plan_sweep(experiment, sweep));
  Launch request = options.launch;
  request.folder = sweep.runs_folder + "/" + experiment.name;
  request.runs = static_cast<int>(plan.size());
  request.command = {"sweep",     options.experiment,
                     "-o",        sweep.runs_folder,
                     "--threads", std::to_string(sweep.threads),
                     "--device",  sweep.device,
                     "--retries", std::to_string(sweep.retries)};
  const auto add_list = [&](const char* option, const std::vector<std::string>& names) {
    std::string joined;
    for (const std::string& name : names) joined += (joined.empty() ? "" : ",") + name;
    if (!joined.empty()) request.command.insert(request.command.end(), {option, joined});
  };
  add_list("--only", sweep.only);
  add_list("--skip", sweep.skip);
  return launch(request);
}

Result<int> run(const Options& options, const Common& common) {
  LATHE_TRY(const Experiment experiment, load_experiment(options.experiment));
  SweepOptions sweep_options = options.sweep;
  sweep_options.only = split_list(options.only);
  sweep_options.skip = split_list(options.skip);
  sweep_options.threads = common.threads;
  sweep_options.device = common.device;
  sweep_options.keep_models = !options.discard_models;
  if (options.pick) {
    LATHE_TRY(const auto plan, plan_sweep(experiment, sweep_options));
    LATHE_TRY(const auto picked, pick_runs(plan));
    if (picked.empty()) {
      fmt::print("nothing was picked\n");
      return kDone;
    }
    sweep_options.only = picked;
  }
  // A worker leaves its runs in their folders; the sweep that launched it does the rest. Runs that
  // failed are in their folders too and don't make the worker fail: mpirun would kill the others.
  if (!options.shard.empty()) {
    LATHE_TRY(sweep_options.shard, parse_shard(options.shard));
    LATHE_OK(sweep(experiment, sweep_options));
    return kDone;
  }
  if (sweep_options.jobs > 1) warn_of_neighbours(experiment);
  if (options.dry_run) return dry_run(experiment, sweep_options, common);
  if (!options.launch.kind.empty()) {
    // Settings are part of a run's identity: workers and merge must agree on them, whatever cores
    // each machine has.
    sweep_options.jobs = 1;
    if (sweep_options.threads == 0) sweep_options.threads = ThreadPool::available_cores();
    LATHE_OK(launch_workers(options, experiment, sweep_options));
  }
  return run_and_show(experiment, sweep_options, common);
}

}  // namespace

Body add_sweep(CLI::App& app, const Common& common) {
  auto options = std::make_shared<Options>();
  app.add_option("experiment", options->experiment, "EXPERIMENT.yaml")->required();
  app.add_option("-o,--runs", options->sweep.runs_folder, "Folder for the runs (default: runs)");
  app.add_option("--only", options->only,
                 "Comma-separated variants to run; globs: 'nf4*', 'tiny/*'");
  app.add_option("--skip", options->skip, "Comma-separated variants to leave out; globs too");
  app.add_flag("--pick", options->pick, "Choose on the terminal which runs to do");
  app.add_flag("--dry-run", options->dry_run,
               "Print what would run, with predicted time, memory and size");
  app.add_option("--jobs", options->sweep.jobs,
                 "Runs at the same time, where memory allows; they share the threads")
      ->check(CLI::Range(1, 256));
  app.add_option("--retries", options->sweep.retries,
                 "Further attempts at a run whose process died (default: 1)")
      ->check(CLI::Range(0, 100));
  app.add_option("--launcher", options->launch.kind,
                 "Spread the runs: 'mpi' (mpirun) or 'slurm' (a job array); then merge")
      ->check(CLI::IsMember({"mpi", "slurm"}));
  app.add_option("--processes", options->launch.processes, "Workers of the launcher")
      ->check(CLI::Range(1, 100000));
  app.add_option("--launcher-args", options->launch.arguments,
                 "Further arguments for mpirun or sbatch, in one text");
  app.add_option("--shard", options->shard,
                 "Do only share I/N of the runs and write no tables; 'auto' under mpirun");
  app.add_flag("--discard-models", options->discard_models,
               "Delete each compressed model once its run is done");
  return [options, &common] { return run(*options, common); };
}

Body add_run_job(CLI::App& app, const Common&) {
  struct Options {
    std::string folder;
    int report_to = -1;
  };
  auto options = std::make_shared<Options>();
  app.add_option("folder", options->folder, "Run folder")->required();
  app.add_option("--report-to", options->report_to, "Descriptor to tell an error to");
  return [options]() -> Result<int> {
    if (options->report_to >= 0) die_with_parent();
    Status status;
    try {
      status = run_job(options->folder);
    } catch (const std::bad_alloc&) {
      status = no_room("out of memory").with_hint("use a smaller model, batch or context");
    }
    if (status.ok()) return kDone;
    const ErrorCode code = status.error().code;
    if (report_error(options->report_to, status.error())) return exit_code(code);
    return std::move(status).error();
  };
}

}  // namespace lathe::cli
