#include "lathe/profile/probe.h"

#include "lathe/cli/command.h"
#include "lathe/io/atomic_file.h"
#include "lathe/profile/environment.h"
#include "lathe/profile/phases.h"
#include "lathe/report/table.h"

namespace lathe::cli {
namespace {

struct Options {
  std::string model, kv, trace;
  int64_t prompt = 128, generate = 64, repetitions = 5;
  std::vector<int64_t> batch;
  bool roofline = false, sparsity = false;
};

struct Job {
  std::string probe;
  nlohmann::json parameters;
};

std::vector<Job> jobs_of(const Options& o) {
  std::vector<Job> jobs = {
      {"size", nlohmann::json::object()},
      {"latency",
       {{"prompt", o.prompt}, {"generate", o.generate}, {"repetitions", o.repetitions}}}};
  for (const int64_t sequences : o.batch) {
    jobs.push_back({"batch", {{"sequences", sequences}, {"repetitions", o.repetitions}}});
  }
  jobs.push_back({"memory", nlohmann::json::object()});
  if (o.sparsity) jobs.push_back({"sparsity", {{"repetitions", o.repetitions}}});
  // Last: measuring the machine takes memory of its own.
  if (o.roofline) {
    jobs.push_back({"roofline", {{"prompt", o.prompt}, {"generate", o.generate}}});
  }
  return jobs;
}

Result<int> measure(const Options& options, const Common& common) {
  LATHE_TRY(const Engine engine, open_engine(options.model, common.engine(options.kv)));
  LATHE_TRY(const auto checkpoint, open_checkpoint(engine.model->path));
  std::vector<Measurement> rows;
  for (const Job& job : jobs_of(options)) {
    LATHE_TRY(const auto measured, run_probe(job.probe, {engine, *checkpoint}, job.parameters));
    rows.insert(rows.end(), measured.begin(), measured.end());
  }
  if (!options.trace.empty()) {
    LATHE_TRY(const Phases phases, time_phases(engine, options.prompt, options.generate));
    LATHE_OK(write_atomically(options.trace, chrome_trace(phases).dump() + "\n"));
  }
  for (Measurement& m : rows) {
    if (m.format.empty()) m.format = engine.model->format;
  }
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
  add_kv_option(app, options->kv);
  app.add_option("--prompt", options->prompt, "Tokens of the prompt (default: 128)");
  app.add_option("--generate", options->generate, "Tokens to generate (default: 64)");
  app.add_option("--repetitions", options->repetitions,
                 "Repetitions after one warm-up (default: 5)");
  app.add_option("--batch", options->batch,
                 "Also decode this many sequences together: 8, or 1,2,4,8")
      ->delimiter(',');
  app.add_flag("--roofline", options->roofline,
               "Also print each phase as share of the machine's ceilings, and its operations");
  app.add_flag(
      "--sparsity", options->sparsity,
      "Also time its largest matrix dense and sparse: from which sparsity on that is faster");
  app.add_option("--trace", options->trace,
                 "Write each operation to this file in Chrome's trace format");
  return [options, &common] { return measure(*options, common); };
}

}  // namespace lathe::cli
