// How long a run will take, from the runs that are there: seconds per sample of each task, seconds
// of each probe and of compression, as measured.json keeps them.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "lathe/lab/experiment.h"

namespace lathe {

class Forecast {
 public:
  // Reads every measured.json below `runs_folder`; what cannot be read is left out.
  explicit Forecast(const std::string& runs_folder);

  struct Answer {
    std::optional<double> seconds;
    std::string
        basis;  // "3 runs of this model", "5 runs of other models, by size", or why there is none
  };
  // `parameters`: of the model. A task without a limit counts as many samples as it had before.
  Answer ask(const VariantSpec& variant, int64_t parameters) const;

 private:
  struct Timed {
    int64_t parameters;
    double seconds;   // for one sample, or the whole probe
    int64_t samples;  // of a task, in all
  };
  std::map<std::string, std::vector<Timed>> timed_;  // "task/squad_v2", "probe/latency", "load"
};

}  // namespace lathe
