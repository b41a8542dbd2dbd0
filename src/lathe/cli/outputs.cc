#include "lathe/cli/outputs.h"

#include "lathe/base/log.h"
#include "lathe/base/version.h"
#include "lathe/io/atomic_file.h"
#include "lathe/report/html.h"
#include "lathe/report/table.h"

namespace lathe::cli {

nlohmann::json json_of(const std::vector<Run>& runs, const std::string& command) {
  nlohmann::json out = {
      {"lathe", kVersion}, {"command", command}, {"runs", nlohmann::json::array()}};
  nlohmann::json results = nlohmann::json::array();
  for (const Run& run : runs) {
    out["runs"].push_back({{"id", run.id},
                           {"status", run.status},
                           {"error", run.error},
                           {"model", run.model},
                           {"environment", run.environment}});
    for (const Measurement& m : run.results) {
      nlohmann::json row = to_json(m);
      row["run"] = run.id;
      results.push_back(std::move(row));
    }
  }
  out["results"] = std::move(results);
  return out;
}

namespace {

// What cannot be read back is said, and stops nothing.
void track_run(Tracking& tracking, const std::string& root, const nlohmann::json& facts,
               const Run& run) {
  const auto sweep = sweep_record(root, facts);
  const auto record = sweep.ok() ? run_record(*sweep, run) : Result<RunRecord>(sweep.error());
  if (record.ok()) {
    tracking.log(*sweep, *record);
  } else {
    spdlog::warn("{} is not tracked: {}", run.id, record.error().message);
  }
}

Status write_results(const SweepOutcome& outcome, const Experiment& experiment,
                     const Comparison& comparison, const std::string& json) {
  LATHE_TRY(const std::string page, html_report(outcome.runs, experiment.name));
  LATHE_OK(write_atomically(outcome.folder + "/report.html", page));
  LATHE_OK(write_atomically(outcome.folder + "/results.csv", csv_rows(outcome.runs)));
  LATHE_OK(write_atomically(outcome.folder + "/results.json", json + "\n"));
  LATHE_OK(write_atomically(outcome.folder + "/results.jsonl", jsonl_rows(outcome.runs)));
  LATHE_OK(write_atomically(outcome.folder + "/results.md", markdown_table(comparison)));
  return write_atomically(outcome.folder + "/experiment.yaml", experiment.text);
}

}  // namespace

void say_untracked(const std::vector<std::string>& untracked, const std::string& folder) {
  for (const std::string& what : untracked) {
    print_error(failed("{}", what)
                    .with_hint(fmt::format(
                        "nothing is lost: `lathe report {} --mlflow URL` (or --mlflow-files, "
                        "--tensorboard) sends it later",
                        folder)));
  }
}

Result<int> run_and_show(const Experiment& experiment, const SweepOptions& options,
                         const Common& common) {
  LATHE_TRY(Tracking tracking, Tracking::open(experiment.track));
  const std::string root = options.runs_folder + "/" + experiment.name;
  const nlohmann::json facts = {
      {"name", experiment.name}, {"baseline", experiment.baseline}, {"seed", experiment.seed}};
  if (!tracking.empty()) {
    LATHE_TRY(const SweepRecord record, sweep_record(root, facts));
    tracking.begin(record);
  }
  LATHE_TRY(const SweepOutcome outcome, sweep(experiment, options, [&](const Run& run) {
              if (!tracking.empty()) track_run(tracking, root, facts, run);
            }));
  const Comparison comparison = compare_runs(outcome.runs);
  using Handler = nlohmann::json::error_handler_t;
  const std::string json = json_of(outcome.runs, "sweep").dump(1, ' ', false, Handler::replace);
  if (const Status written = write_results(outcome, experiment, comparison, json); !written.ok()) {
    if (outcome.failed == 0) return written.error();
    // The first thing that went wrong has been told, and says more.
    spdlog::warn("no report was written: {}", written.error().message);
    return kFailed;
  }
  std::vector<std::string> untracked;
  if (!tracking.empty()) {
    LATHE_TRY(const SweepRecord record, sweep_record(root, facts));
    untracked = tracking.end(record, outcome.failed > 0);
  }
  if (common.json) {
    fmt::print("{}\n", json);
  } else {
    fmt::print("\n{}", terminal_table(comparison, colour_wanted()));
    if (outcome.reused > 0) {
      fmt::print("{} of {} runs were finished before and not repeated\n", outcome.reused,
                 outcome.runs.size());
    }
    fmt::print("\nreport: {0}/report.html   data: {0}/results.csv, .json, .jsonl, .md\n",
               outcome.folder);
  }
  say_untracked(untracked, outcome.folder);
  if (outcome.failed == 0) return untracked.empty() ? kDone : kFailed;
  return outcome.failed == outcome.no_room ? kNoRoom : kFailed;
}

}  // namespace lathe::cli
