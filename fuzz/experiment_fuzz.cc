// Experiment files. What parses must be whole: a baseline among the variants, tasks and probes with
// all of their parameters, recipes that read back the same.

// Links: lathe_lab

#include "fuzz_support.h"
#include "lathe/base/check.h"
#include "lathe/eval/task.h"
#include "lathe/lab/experiment.h"
#include "lathe/profile/probe.h"

using namespace lathe;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto experiment = parse_experiment(std::string(fuzz_text(data, size)), "fuzz.yaml");
  if (!experiment.ok()) {
    LATHE_CHECK(!experiment.error().message.empty());
    return 0;
  }
  LATHE_CHECK(!experiment->name.empty() && !experiment->models.empty());
  LATHE_CHECK(!experiment->tasks.empty() || !experiment->probes.empty());
  bool baseline = false;
  for (const VariantSpec& variant : experiment->variants) {
    baseline |= variant.name == experiment->baseline;
    LATHE_CHECK(variant.name.find('/') == std::string::npos && variant.name[0] != '.');
    LATHE_CHECK(recipe_from_json(to_json(variant.recipe))->hash() == variant.recipe.hash());
  }
  LATHE_CHECK(baseline);
  for (const NamedParameters& task : experiment->tasks) {
    LATHE_CHECK((*make_task(task.name, task.parameters))->parameters() == task.parameters);
  }
  for (const NamedParameters& probe : experiment->probes) {
    LATHE_CHECK(*probe_parameters(probe.name, probe.parameters) == probe.parameters);
  }
  return 0;
}
