#include <algorithm>

#include "lathe/base/parse_json.h"
#include "lathe/base/progress.h"
#include "lathe/cli/command.h"
#include "lathe/eval/divergence.h"
#include "lathe/eval/match.h"
#include "lathe/eval/overlap.h"
#include "lathe/io/atomic_file.h"
#include "lathe/profile/environment.h"
#include "lathe/report/table.h"

namespace lathe::cli {
namespace {

struct Options {
  std::string model, tasks, samples, kv, against, encoder, calibration;
  std::vector<std::string> settings;
  int64_t limit = 0;
  bool chat = false;
  double match = 0;
};

using Parameters = std::map<std::string, nlohmann::json>;

// "perplexity.window=1024": the text is read as JSON where it is JSON, else as a string. The task
// may be a file's path, with dots of its own.
Status apply_settings(const Options& options, const std::vector<std::string>& names,
                      Parameters& parameters) {
  for (const std::string& setting : options.settings) {
    const size_t equals = setting.find('='), dot = setting.rfind('.', equals);
    if (equals == std::string::npos || dot == std::string::npos) {
      return bad_input("--set '{}': expected TASK.PARAMETER=VALUE", setting);
    }
    const std::string task = setting.substr(0, dot);
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

Result<std::vector<std::unique_ptr<Task>>> make_tasks(const Options& options) {
  std::string list = options.tasks;
  if (list.empty())
    list = options.match > 0 ? "rosetta" : options.against.empty() ? "perplexity" : "";
  const auto names = split_list(list);
  Parameters parameters;
  for (const std::string& name : names) {
    parameters[name] = nlohmann::json::object();
    if (options.limit > 0) parameters[name]["limit"] = options.limit;
    if (options.chat) parameters[name]["chat"] = true;
  }
  LATHE_OK(apply_settings(options, names, parameters));
  std::vector<std::unique_ptr<Task>> tasks;
  for (const std::string& name : names) {
    LATHE_TRY(auto task, make_task(name, parameters[name]));
    if (!options.encoder.empty() && member_or(task->parameters(), "encoder", "-").empty()) {
      parameters[name]["encoder"] = options.encoder;
      LATHE_TRY(task, make_task(name, parameters[name]));
    }
    tasks.push_back(std::move(task));
  }
  const bool judged = std::any_of(tasks.begin(), tasks.end(), [](const auto& task) {
    return task->parameters().contains("encoder");
  });
  if (!options.encoder.empty() && !judged) {
    return bad_input("--encoder: none of the tasks generates text");
  }
  if (tasks.empty() && options.against.empty()) return bad_input("--tasks names no task");
  return tasks;
}

// What was run, and where settings do not fit the model, before the first score.
void show_preflight(const Task& task, const nlohmann::json& facts, const Engine& engine) {
  fmt::print(stderr, "{} on {}\n", task.name(), engine.model->path);
  for (const auto& [key, value] : facts.items()) {
    if (key == "warnings") continue;
    fmt::print(stderr, "  {}: {}\n", key,
               value.is_string() ? value.get<std::string>() : value.dump());
  }
  for (const auto& warning : member_or(facts, "warnings", nlohmann::json::array())) {
    fmt::print(stderr, "  warning: {}\n", warning.get<std::string>());
  }
}

// `calibration_overlap`: what the model was calibrated on of this task; null where that is not
// told. `lines` receives the samples as text, in the order in which they were made.
Result<std::vector<Sample>> run_task(Task& task, const Engine& engine, const Common& common,
                                     const nlohmann::json& calibration_overlap, std::string* lines,
                                     nlohmann::json* preflight) {
  LATHE_OK(task.prepare(engine));
  const auto facts_of_task = [&] {
    nlohmann::json facts = task.preflight();
    if (!calibration_overlap.is_null()) add_overlap(calibration_overlap, facts);
    return facts;
  };
  if (!common.quiet) show_preflight(task, facts_of_task(), engine);
  std::vector<Sample> samples;
  Progress progress(task.name(), task.sample_count(), "samples");
  LATHE_OK(task.run(engine, {}, [&](Sample sample) -> Status {
    samples.push_back(std::move(sample));
    progress.advance();
    return {};
  }));
  nlohmann::json facts = facts_of_task();
  const auto warnings = [&] { return member_or(facts, "warnings", nlohmann::json::array()); };
  const size_t known = warnings().size();
  LATHE_OK_IN(task.judge(samples, *engine.ops, facts), fmt::format("task '{}'", task.name()));
  for (size_t i = known; i < warnings().size() && !common.quiet; ++i) {
    fmt::print(stderr, "  warning: {}\n", warnings()[i].get<std::string>());
  }
  if (preflight) *preflight = facts;
  if (lines) {
    for (const Sample& sample : samples) *lines += json_line(sample, task.name());
  }
  // Tasks deliver samples as they end; sums must not depend on that order.
  std::sort(samples.begin(), samples.end(),
            [](const Sample& a, const Sample& b) { return a.id < b.id; });
  return samples;
}

void show_comparison(const std::vector<Measurement>& rows) {
  for (const Measurement& m : rows) {
    if (m.verdict.empty()) continue;
    std::string line = fmt::format("{} {}: {:+.4g}", m.task, m.metric, *m.baseline_delta);
    if (m.delta_low && m.delta_high)
      line += fmt::format(" [{:+.4g}, {:+.4g}]", *m.delta_low, *m.delta_high);
    line += " " + m.verdict;
    if (m.p_value) line += fmt::format(", p = {:.3g} ({})", *m.p_value, m.test);
    if (m.p_holm) line += fmt::format(", corrected {:.3g}", *m.p_holm);
    if (m.gained && m.lost) line += fmt::format(", {} gained, {} lost", *m.gained, *m.lost);
    if (m.verdict == "undecided" && m.decisive_n)
      line += fmt::format(", {} samples would decide", *m.decisive_n);
    fmt::print("{}\n", line);
  }
}

std::string matched(const Measurement& row, double figure, double distance) {
  std::string how = row.metric;
  for (const auto& [key, value] : row.extra.items()) {
    how += fmt::format(", {} {}", key, value.is_string() ? value.get<std::string>() : value.dump());
  }
  return fmt::format("nearest to {} is {:.6g} ({}), {:.2f} % away", figure, row.value, how,
                     100 * distance);
}

Result<int> evaluate(const Options& options, const Common& common) {
  LATHE_TRY(auto tasks, make_tasks(options));
  EngineOptions engine_options = common.engine(options.kv);
  engine_options.math = Math::kExact;
  LATHE_TRY(const Engine engine, open_engine(options.model, engine_options));
  std::optional<Engine> base;
  if (!options.against.empty()) {
    LATHE_TRY(base, open_engine(options.against, engine_options));
    tasks.push_back(make_divergence(*base, {.limit = options.limit}));
  }
  std::optional<Overlap> calibration;
  if (!options.calibration.empty()) {
    LATHE_TRY(calibration, Overlap::with(options.calibration));
  }
  std::vector<Measurement> rows;
  nlohmann::json preflight = nlohmann::json::object();
  std::string lines;
  for (const auto& task : tasks) {
    // The divergence reads both models as it runs.
    const bool paired = base && task->name() != "divergence";
    std::vector<Sample> theirs;
    if (paired) {
      LATHE_TRY(theirs, run_task(*task, *base, common, nullptr, nullptr, nullptr));
    }
    nlohmann::json overlap;
    if (calibration) {
      LATHE_TRY(overlap, calibration->of_files(task->input_files()));
    }
    LATHE_TRY(const auto samples,
              run_task(*task, engine, common, overlap, &lines, &preflight[task->name()]));
    for (Measurement& m : aggregate(*task, samples, paired ? &theirs : nullptr, common.seed)) {
      m.format = engine.model->format;
      rows.push_back(std::move(m));
    }
  }
  std::vector<Measurement*> compared;
  for (Measurement& m : rows) compared.push_back(&m);
  holm_correct(compared);
  if (!options.samples.empty()) LATHE_OK(write_atomically(options.samples, lines));
  const auto match = nearest_perplexity(rows, options.match);
  if (options.match > 0 && !match) {
    return bad_input("--match: none of the tasks gives a perplexity");
  }
  if (!common.json) {
    fmt::print("{}", terminal_rows(rows, colour_wanted()));
    show_comparison(rows);
    for (const std::string& line : left_out(preflight)) fmt::print("{}\n", line);
    if (match) fmt::print("{}\n", matched(rows[match->row], options.match, match->distance));
    return kDone;
  }
  LATHE_TRY(const auto checkpoint, open_checkpoint(engine.model->path));
  LATHE_TRY(const auto model, describe_model(*checkpoint, engine.model->parameters));
  auto result = json_result("eval", model, environment_of(engine, common.seed), rows);
  result["preflight"] = preflight;
  if (base) result["baseline"] = {{"path", base->model->path}};
  if (match) {
    result["match"] = {{"figure", options.match},
                       {"distance", match->distance},
                       {"row", to_json(rows[match->row])}};
  }
  print_json(result);
  return kDone;
}

}  // namespace

Body add_eval(CLI::App& app, const Common& common) {
  auto options = std::make_shared<Options>();
  app.add_option("model", options->model, "MODEL")->required();
  add_kv_option(app, options->kv);
  app.add_option("--tasks", options->tasks,
                 "Comma-separated tasks or task files (default: perplexity)");
  app.add_option("--limit", options->limit, "At most this many samples of each task")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--set", options->settings, "TASK.PARAMETER=VALUE, repeatable")
      ->allow_extra_args(false);
  app.add_flag("--chat", options->chat, "Ask through the model's chat template");
  app.add_option(
      "--encoder", options->encoder,
      "Score the coherence of answers and prompts with this sentence encoder: a MODEL, or "
      "'auto'");
  app.add_option("--against", options->against,
                 "A baseline MODEL: paired comparisons, and the divergence of the predictions");
  app.add_option("--calibration", options->calibration,
                 "The text that the model was calibrated on: says how much of each test is in it");
  app.add_option("--match", options->match,
                 "A published perplexity: names the convention that comes nearest (task rosetta)")
      ->check(CLI::PositiveNumber);
  app.add_option("--samples", options->samples,
                 "Write each prediction and its score to this JSONL file");
  std::string help = "Tasks and their parameters:\n";
  for (const TaskKind& kind : task_kinds()) {
    help += fmt::format("  {}: {}\n    {}\n", kind.name, kind.description, kind.defaults.dump());
  }
  app.footer(help +
             "A task file is YAML (docs/tasks.md).\n"
             "MODEL is a directory, a GGUF file, a hub id in the local cache, or 'bundled'.");
  return [options, &common] { return evaluate(*options, common); };
}

}  // namespace lathe::cli
