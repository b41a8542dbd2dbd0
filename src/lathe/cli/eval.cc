#include "lathe/base/progress.h"
#include "lathe/cli/command.h"
#include "lathe/eval/task.h"
#include "lathe/io/atomic_file.h"
#include "lathe/profile/environment.h"
#include "lathe/report/table.h"

namespace lathe::cli {
namespace {

struct Options {
  std::string model, tasks = "perplexity", samples, kv;
  std::vector<std::string> settings;
  int64_t limit = 0;
};

// "perplexity.window=1024": the text is read as JSON where it is JSON, else as a string.
Status apply_settings(const Options& options, const std::vector<std::string>& names,
                      std::map<std::string, nlohmann::json>& parameters) {
  for (const std::string& setting : options.settings) {
    const size_t dot = setting.find('.'), equals = setting.find('=');
    const std::string task = setting.substr(0, std::min(dot, setting.size()));
    if (equals == std::string::npos || dot > equals) {
      return bad_input("--set '{}': expected TASK.PARAMETER=VALUE", setting);
    }
    if (std::find(names.begin(), names.end(), task) == names.end()) {
      return bad_input("--set '{}': task '{}' is not among --tasks", setting, task);
    }
    const std::string value = setting.substr(equals + 1);
    nlohmann::json json = nlohmann::json::parse(value, nullptr, false);
    if (json.is_discarded() || json.is_structured()) json = value;
    parameters[task][setting.substr(dot + 1, equals - dot - 1)] = json;
  }
  return {};
}

Result<int> evaluate(const Options& options, const Common& common) {
  const auto names = split_list(options.tasks);
  std::map<std::string, nlohmann::json> parameters;
  for (const std::string& name : names) {
    parameters[name] = nlohmann::json::object();
    if (options.limit > 0) parameters[name]["limit"] = options.limit;
  }
  LATHE_OK(apply_settings(options, names, parameters));
  std::vector<std::unique_ptr<Task>> tasks;
  for (const std::string& name : names) {
    LATHE_TRY(auto task, make_task(name, parameters[name]));
    tasks.push_back(std::move(task));
  }
  if (tasks.empty()) return bad_input("--tasks names no task");
  LATHE_TRY(const Engine engine, open_engine(options.model, common.engine(options.kv)));
  std::vector<Measurement> rows;
  std::string lines;
  for (const auto& task : tasks) {
    LATHE_OK(task->prepare(engine));
    const nlohmann::json preflight = task->preflight();
    if (!common.quiet) fmt::print(stderr, "{}: {}\n", task->name(), preflight.dump());
    std::vector<Sample> samples;
    Progress progress(task->name(), task->sample_count(), "samples");
    LATHE_OK(task->run(engine, {}, [&](Sample sample) -> Status {
      lines += to_json(sample, task->name())
                   .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) +
               "\n";
      samples.push_back(std::move(sample));
      progress.advance();
      return {};
    }));
    for (Measurement& m : aggregate(*task, samples, nullptr, common.seed)) {
      m.format = engine.model->format;
      rows.push_back(std::move(m));
    }
  }
  if (!options.samples.empty()) LATHE_OK(write_atomically(options.samples, lines));
  if (!common.json) {
    fmt::print("{}", terminal_rows(rows, colour_wanted()));
    return kDone;
  }
  LATHE_TRY(const auto checkpoint, open_checkpoint(engine.model->path));
  LATHE_TRY(const auto model, describe_model(*checkpoint, engine.model->parameters));
  print_json(json_result("eval", model, environment_of(engine, common.seed), rows));
  return kDone;
}

}  // namespace

Body add_eval(CLI::App& app, const Common& common) {
  auto options = std::make_shared<Options>();
  app.add_option("model", options->model, "MODEL")->required();
  add_kv_option(app, options->kv);
  app.add_option("--tasks", options->tasks, "Comma-separated tasks (default: perplexity)");
  app.add_option("--limit", options->limit, "At most this many samples of each task")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--set", options->settings, "TASK.PARAMETER=VALUE, repeatable")
      ->allow_extra_args(false);
  app.add_option("--samples", options->samples,
                 "Write each prediction and its score to this JSONL file");
  std::string help = "Tasks and their parameters:\n";
  for (const TaskKind& kind : task_kinds()) {
    help += fmt::format("  {}: {}\n    {}\n", kind.name, kind.description, kind.defaults.dump());
  }
  app.footer(help +
             "MODEL is a directory, a GGUF file, a hub id in the local cache, or 'bundled'.");
  return [options, &common] { return evaluate(*options, common); };
}

}  // namespace lathe::cli
