#include "lathe/profile/probe.h"

#include "lathe/cli/command.h"
#include "lathe/profile/environment.h"
#include "lathe/report/table.h"

namespace lathe::cli {
namespace {

struct Options {
  std::string model;
  int64_t prompt = 128, generate = 64, repetitions = 5;
};

Result<int> measure(const Options& options, const Common& common) {
  LATHE_TRY(const Engine engine, open_engine(options.model, common.engine()));
  LATHE_TRY(const auto checkpoint, open_checkpoint(engine.model->path));
  std::vector<Measurement> rows;
  for (const ProbeKind& kind : probe_kinds()) {
    nlohmann::json parameters = nlohmann::json::object();
    if (kind.name == "latency") {
      parameters = {{"prompt", options.prompt},
                    {"generate", options.generate},
                    {"repetitions", options.repetitions}};
    }
    LATHE_TRY(const auto measured, run_probe(kind.name, {engine, *checkpoint}, parameters));
    rows.insert(rows.end(), measured.begin(), measured.end());
  }
  for (Measurement& m : rows) m.format = engine.model->format;
  if (!common.json) {
    fmt::print("{}", terminal_rows(rows, colour_wanted()));
    return kDone;
  }
  LATHE_TRY(const auto model, describe_model(*checkpoint, engine.model->parameters));
  print_json(json_result("profile", model, environment_of(engine, common.seed), rows));
  return kDone;
}

}  // namespace

Body add_profile(CLI::App& app, const Common& common) {
  auto options = std::make_shared<Options>();
  app.add_option("model", options->model, "MODEL")->required();
  app.add_option("--prompt", options->prompt, "Tokens of the prompt (default: 128)");
  app.add_option("--generate", options->generate, "Tokens to generate (default: 64)");
  app.add_option("--repetitions", options->repetitions,
                 "Repetitions after one warm-up (default: 5)");
  return [options, &common] { return measure(*options, common); };
}

}  // namespace lathe::cli
