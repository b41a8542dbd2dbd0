// What `analyze` and `plan` share: the options of an analysis.
#pragma once

#include "lathe/cli/command.h"
#include "lathe/lab/analysis.h"

namespace lathe::cli {

struct AnalysisOptions {
  std::string model, folder, method = "rtn", prune = "magnitude", data, calibration;
  std::vector<std::string> candidates;
  int64_t samples = 32, length = 256, calibration_samples = 64;
  bool no_times = false;
};

void add_analysis_options(CLI::App& app, AnalysisOptions& options);
// `path`: of the model, as resolved. The data is the bundled model's own where none is given.
Result<AnalysisSpec> analysis_spec(const AnalysisOptions& options, const Common& common,
                                   const std::string& path);
// "<name of the model>.analysis" here, where none is given.
std::string analysis_folder(const AnalysisOptions& options, const std::string& path);

}  // namespace lathe::cli
