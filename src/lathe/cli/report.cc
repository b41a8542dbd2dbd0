#include "lathe/cli/command.h"
#include "lathe/cli/outputs.h"
#include "lathe/io/atomic_file.h"
#include "lathe/report/html.h"
#include "lathe/report/table.h"

namespace lathe::cli {
namespace {

struct Options {
  std::vector<std::string> folders;
  std::string html, csv, markdown, json_file, title;
};

Result<int> report(const Options& options, const Common& common) {
  std::vector<Run> runs;
  for (const std::string& folder : options.folders) {
    LATHE_TRY(auto found, load_runs(folder));
    for (Run& run : found) runs.push_back(std::move(run));
  }
  const std::string title =
      !options.title.empty() ? options.title : runs[0].experiment.value("name", "Lathe report");
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
  if (!options.json_file.empty()) {
    LATHE_OK(
        write_atomically(options.json_file, json.dump(1, ' ', false, Handler::replace) + "\n"));
  }
  if (common.json) {
    print_json(json);
  } else {
    fmt::print("{}", terminal_table(comparison, colour_wanted()));
    for (const std::string* file :
         {&options.html, &options.csv, &options.markdown, &options.json_file}) {
      if (!file->empty()) fmt::print("wrote {}\n", *file);
    }
  }
  return kDone;
}

}  // namespace

Body add_report(CLI::App& app, const Common& common) {
  auto options = std::make_shared<Options>();
  app.add_option("runs", options->folders, "RUNS: folders that a sweep wrote")->required();
  app.add_option("-o,--html", options->html, "Write the self-contained HTML page here");
  app.add_option("--csv", options->csv, "Write one line a number here");
  app.add_option("--md", options->markdown, "Write the table as Markdown here");
  app.add_option("--json-file", options->json_file, "Write the rows as JSON here");
  app.add_option("--title", options->title, "Title of the page");
  return [options, &common] { return report(*options, common); };
}

}  // namespace lathe::cli
