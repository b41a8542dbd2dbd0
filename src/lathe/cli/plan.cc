#include "lathe/cli/analysis_options.h"
#include "lathe/io/atomic_file.h"
#include "lathe/lab/budget_plan.h"
#include "lathe/profile/environment.h"
#include "lathe/report/table.h"

namespace lathe::cli {
namespace {

struct Options {
  AnalysisOptions analysis;
  std::vector<std::string> budgets, keep;
  std::string out, verify_data;
  bool verify = false, additive = false;
};

Measurement row(const char* metric, double value, const char* unit, const char* better) {
  Measurement m;
  m.variant = "plan";
  m.task = "plan";
  m.metric = metric;
  m.value = value;
  m.unit = unit;
  m.better = better;
  m.n = 1;
  return m;
}

std::string percent(double value, double of) {
  return fmt::format("{:+.1f} %", 100 * (value / of - 1));
}

Result<int> run(const Options& options, const Common& common) {
  Budgets budgets;
  for (const std::string& text : options.budgets) LATHE_OK(add_budget(budgets, text));
  LATHE_TRY(const std::string path, resolve_model(options.analysis.model));
  LATHE_TRY(const AnalysisSpec spec, analysis_spec(options.analysis, common, path));
  LATHE_TRY(const auto source, open_checkpoint(path));
  ThreadPool pool(common.threads);
  const bool times = budgets.tokens_per_s && !options.analysis.no_times;
  LATHE_TRY(Analysis analysis,
            analyze(*source, spec, analysis_folder(options.analysis, path), pool, {true, times}));
  LATHE_TRY(Planner planner,
            Planner::create(*source, std::move(analysis), spec, options.keep, pool));
  // What is impossible is refused before mixtures are measured; these change the prediction alone.
  LATHE_TRY(Planner::Plan plan, planner.plan(budgets));
  if (!options.additive) {
    LATHE_OK(planner.calibrate());
    plan.predicted_kl = planner.predict(plan.additive_kl);
  }

  std::string summary = fmt::format(
      "lathe plan: {} bytes, {:.3f} bits per weight, predicted KL {:.6g} (sum over matrices "
      "{:.6g}, "
      "at most {:.2g} above the optimum)",
      plan.bytes, plan.bits_per_weight, plan.predicted_kl, plan.additive_kl,
      plan.additive_kl - plan.bound);
  if (plan.tokens_per_s) summary += fmt::format(", predicted {:.1f} tok/s", *plan.tokens_per_s);
  const std::string yaml = recipe_yaml(plan.recipe, summary);
  if (!options.out.empty()) LATHE_OK(write_atomically(options.out, yaml));

  std::vector<Measurement> rows = {
      row("disk_bytes", static_cast<double>(plan.bytes), "bytes", "lower"),
      row("bits_per_weight", plan.bits_per_weight, "bits", "lower"),
      row("predicted_kl", plan.predicted_kl, "nats", "lower"),
      row("additive_kl", plan.additive_kl, "nats", "lower"),
      row("additive_kl_bound", plan.bound, "nats", "lower")};
  if (plan.tokens_per_s) {
    rows.push_back(row("predicted_tokens_per_s", *plan.tokens_per_s, "tok/s", "higher"));
  }
  std::string said;
  if (options.verify || !options.verify_data.empty()) {
    CalibrationSpec held_out = spec.loss;
    if (!options.verify_data.empty()) held_out.data = options.verify_data;
    LATHE_TRY(const auto verified,
              planner.verify(plan.recipe, held_out, budgets.tokens_per_s.has_value()));
    if (verified.bytes != plan.bytes) {
      return failed("planned {} bytes, but compressing gave {}", plan.bytes, verified.bytes);
    }
    said = fmt::format(
        "measured on {}: KL {:.6g} (predicted {:.6g}: {}), perplexity {:.4f} against {:.4f}, the "
        "same most likely token {:.2f} %\n",
        held_out.data, verified.change.kl, plan.predicted_kl,
        percent(plan.predicted_kl, verified.change.kl), verified.change.ppl,
        verified.change.base_ppl, 100 * verified.change.top1);
    rows.push_back(row("kl_mean", verified.change.kl, "nats", "lower"));
    rows.push_back(row("ppl", verified.change.ppl, "", "lower"));
    rows.push_back(row("base_ppl", verified.change.base_ppl, "", "lower"));
    rows.push_back(row("top1_agreement", 100 * verified.change.top1, "%", "higher"));
    if (verified.tokens_per_s) {
      said += fmt::format("measured {:.1f} tok/s (predicted {:.1f})\n", *verified.tokens_per_s,
                          plan.tokens_per_s.value_or(0));
      rows.push_back(row("decode_tokens_per_s", *verified.tokens_per_s, "tok/s", "higher"));
    }
  }
  if (!common.json) {
    if (options.out.empty()) {
      fmt::print("{}", yaml);
    } else {
      fmt::print("{}\n{}: lathe compress {} -r {} -o OUT\n", summary, options.out,
                 options.analysis.model, options.out);
    }
    // Not into a recipe that goes to a file.
    fmt::print(options.out.empty() ? stderr : stdout, "{}", said);
    return kDone;
  }
  nlohmann::json json = json_result("plan", planner.analysis().header["model"],
                                    {{"cpu", cpu_name()}, {"threads", pool.size()}}, rows);
  json["recipe"] = to_json(plan.recipe);
  print_json(json);
  return kDone;
}

}  // namespace

Body add_plan(CLI::App& app, const Common& common) {
  auto options = std::make_shared<Options>();
  add_analysis_options(app, options->analysis);
  app.add_option("--budget", options->budgets,
                 "2GB, 4.5bpw (bits per weight, tables included), 30tok/s; several at once")
      ->required();
  app.add_option("--keep", options->keep,
                 "PATTERN[=FORMAT[@SPARSITY]]: matrices that are not to be chosen for")
      ->allow_extra_args(false);
  app.add_option("-o,--out", options->out, "Write the recipe here (standard output)");
  app.add_flag("--verify", options->verify, "Compress and measure: predicted against measured");
  app.add_option("--verify-data", options->verify_data, "The same on another text");
  app.add_flag("--additive", options->additive, "Predict the plain sum; measure no mixtures");
  return [options, &common] { return run(*options, common); };
}

}  // namespace lathe::cli
