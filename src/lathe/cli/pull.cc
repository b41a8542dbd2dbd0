#include "lathe/cli/command.h"
#include "lathe/io/hub.h"

namespace lathe::cli {

Body add_pull(CLI::App& app, const Common& common) {
  struct Options {
    std::string repo;
    bool dataset = false;
    PullOptions pull;
  };
  auto options = std::make_shared<Options>();
  app.add_option("repo", options->repo, "REPO_ID, for example Qwen/Qwen2.5-0.5B")->required();
  app.add_flag("--dataset", options->dataset,
               "REPO_ID is a data set: fetch its JSON, JSONL, CSV, TSV and text files");
  app.add_option("--revision", options->pull.revision, "Branch, tag or commit (default: main)");
  app.add_option("--include", options->pull.include_globs, "Only files that match, repeatable")
      ->allow_extra_args(false);
  return [options, &common]() -> Result<int> {
    options->pull.kind = options->dataset ? HubKind::kDataset : HubKind::kModel;
    LATHE_TRY(const std::string folder, pull_from_hub(options->repo, options->pull));
    if (common.json) {
      print_json({{"command", "pull"},
                  {"repo", options->repo},
                  {"kind", options->dataset ? "dataset" : "model"},
                  {"folder", folder}});
    } else {
      fmt::print("{}\n", folder);
    }
    return kDone;
  };
}

}  // namespace lathe::cli
