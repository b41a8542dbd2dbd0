#include "lathe/base/parse_json.h"
#include "lathe/cli/command.h"
#include "lathe/cli/outputs.h"
#include "lathe/io/atomic_file.h"
#include "lathe/lab/sweep_verdicts.h"
#include "lathe/report/html.h"
#include "lathe/report/table.h"

namespace lathe::cli {
namespace {

struct Options {
  std::vector<std::string> folders;
  std::string html, csv, markdown, json_file, jsonl, title;
  std::string mlflow, mlflow_files, tensorboard;
};

// Hands finished runs to trackers; what they have already is not sent twice.
Result<int> track(const Options& options, const std::vector<Run>& runs) {
  std::vector<TrackTarget> targets;
  for (const auto& [kind, target] :
       {std::pair{"mlflow", &options.mlflow}, std::pair{"mlflow_files", &options.mlflow_files},
        std::pair{"tensorboard", &options.tensorboard}}) {
    if (!target->empty()) targets.push_back({kind, *target});
  }
  if (targets.empty()) return kDone;
  LATHE_TRY(const auto sweeps, group_by_sweep(runs));
  int code = kDone;
  for (const TrackedSweep& entry : sweeps) {
    LATHE_TRY(Tracking tracking, Tracking::open(targets));
    tracking.begin(entry.sweep);
    bool failed = false;
    for (const RunRecord& run : entry.runs) {
      tracking.log(entry.sweep, run);
      failed |= run.failed;
    }
    const auto untracked = tracking.end(entry.sweep, failed);
    say_untracked(untracked, entry.sweep.folder);
    if (!untracked.empty()) code = kFailed;
  }
  return code;
}

Result<int> report(const Options& options, const Common& common) {
  std::vector<Run> runs;
  for (const std::string& folder : options.folders) {
    LATHE_TRY(auto found, load_runs(folder));
    for (Run& run : found) runs.push_back(std::move(run));
  }
  correct_verdicts(runs);
  const std::string title = !options.title.empty()
                                ? options.title
                                : member_or(runs[0].experiment, "name", "Lathe report");
  const Comparison comparison = compare_runs(runs);
  if (!options.html.empty()) {
    LATHE_TRY(const std::string page, html_report(runs, title));
    LATHE_OK(write_atomically(options.html, page));
  }
  const nlohmann::json json = json_of(runs, "report");
  using Handler = nlohmann::json::error_handler_t;
  if (!options.csv.empty()) LATHE_OK(write_atomically(options.csv, csv_rows(runs)));
  if (!options.markdown.empty())
    LATHE_OK(write_atomically(options.markdown, markdown_table(comparison)));
  if (!options.jsonl.empty()) LATHE_OK(write_atomically(options.jsonl, jsonl_rows(runs)));
  if (!options.json_file.empty()) {
    LATHE_OK(
        write_atomically(options.json_file, json.dump(1, ' ', false, Handler::replace) + "\n"));
  }
  if (common.json) {
    print_json(json);
  } else {
    fmt::print("{}", terminal_table(comparison, colour_wanted()));
    for (const std::string* file :
         {&options.html, &options.csv, &options.markdown, &options.json_file, &options.jsonl}) {
      if (!file->empty()) fmt::print("wrote {}\n", *file);
    }
  }
  return track(options, runs);
}

}  // namespace

Body add_report(CLI::App& app, const Common& common) {
  auto options = std::make_shared<Options>();
  app.add_option("runs", options->folders, "RUNS: folders that a sweep wrote")->required();
  app.add_option("-o,--html", options->html, "Write the self-contained HTML page here");
  app.add_option("--csv", options->csv, "Write one line a number here");
  app.add_option("--md", options->markdown, "Write the table as Markdown here");
  app.add_option("--json-file", options->json_file, "Write the rows as JSON here");
  app.add_option("--jsonl", options->jsonl, "Write one JSON object a number here");
  app.add_option("--mlflow", options->mlflow, "Send the runs to the MLflow server at this URL");
  app.add_option("--mlflow-files", options->mlflow_files,
                 "Write the runs to this folder as MLflow's file store");
  app.add_option("--tensorboard", options->tensorboard,
                 "Write the runs' event files for TensorBoard to this folder");
  app.add_option("--title", options->title, "Title of the page");
  return [options, &common] { return report(*options, common); };
}

}  // namespace lathe::cli
