#include "lathe/cli/command.h"
#include "lathe/cli/outputs.h"

namespace lathe::cli {

Body add_demo(CLI::App& app, const Common& common) {
  auto options = std::make_shared<SweepOptions>();
  app.add_option("-o,--runs", options->runs_folder, "Folder for the runs (default: runs)");
  return [options, &common]() -> Result<int> {
    LATHE_TRY(const Experiment experiment, parse_experiment(demo_experiment(), "demo"));
    SweepOptions sweep_options = *options;
    sweep_options.threads = common.threads;
    sweep_options.device = common.device;
    return run_and_show(experiment, sweep_options, common);
  };
}

}  // namespace lathe::cli
