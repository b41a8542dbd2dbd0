#include "lathe/base/log.h"
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

std::string summary_of(const Planner::Plan& plan) {
  std::string out = fmt::format(
      "lathe plan: {} bytes, {:.3f} bits per weight, predicted KL {:.6g} (sum over matrices "
      "{:.6g}, "
      "at most {:.2g} above the optimum)",
      plan.bytes, plan.bits_per_weight, plan.predicted_kl, plan.additive_kl,
      plan.additive_kl - plan.bound);
  if (!plan.speed) return out;
  return out + fmt::format(", predicted {:.1f} tok/s, {:.3f} times as fast as unchanged",
                           plan.speed->tokens_per_s, plan.speed->ratio);
}

std::vector<Measurement> rows_of(const Planner::Plan& plan) {
  std::vector<Measurement> rows = {
      row("disk_bytes", static_cast<double>(plan.bytes), "bytes", "lower"),
      row("bits_per_weight", plan.bits_per_weight, "bits", "lower"),
      row("predicted_kl", plan.predicted_kl, "nats", "lower"),
      row("additive_kl", plan.additive_kl, "nats", "lower"),
      row("additive_kl_bound", plan.bound, "nats", "lower")};
  if (plan.speed) {
    rows.push_back(row("predicted_tokens_per_s", plan.speed->tokens_per_s, "tok/s", "higher"));
    rows.push_back(row("predicted_speedup", plan.speed->ratio, "", "higher"));
  }
  return rows;
}

std::vector<Measurement> rows_of(const Planner::Verified& verified) {
  std::vector<Measurement> rows = {
      row("measured_bytes", static_cast<double>(verified.bytes), "bytes", "lower"),
      row("kl_mean", verified.change.kl, "nats", "lower"),
      row("ppl", verified.change.ppl, "", "lower"),
      row("base_ppl", verified.change.base_ppl, "", "lower"),
      row("top1_agreement", 100 * verified.change.top1, "%", "higher")};
  if (verified.speed) {
    rows.push_back(row("decode_tokens_per_s", verified.speed->tokens_per_s, "tok/s", "higher"));
    rows.push_back(
        row("base_decode_tokens_per_s", verified.speed->base_tokens_per_s, "tok/s", "higher"));
    rows.push_back(row("speedup", verified.speed->ratio, "", "higher"));
  }
  return rows;
}

// Predicted against measured.
std::string text_of(const Planner::Plan& plan, double predicted_kl,
                    const Planner::Verified& verified, const std::string& data) {
  std::string out = fmt::format(
      "measured on {}: KL {:.6g} (predicted {:.6g}: {}), perplexity {:.4f} against {:.4f}, the "
      "same most likely token {:.2f} %\n",
      data, verified.change.kl, predicted_kl, percent(predicted_kl, verified.change.kl),
      verified.change.ppl, verified.change.base_ppl, 100 * verified.change.top1);
  if (verified.bytes != plan.bytes) {
    out +=
        fmt::format("measured {} bytes (planned {}: {})\n", verified.bytes, plan.bytes,
                    percent(static_cast<double>(plan.bytes), static_cast<double>(verified.bytes)));
  }
  if (!verified.speed) return out;
  return out + fmt::format(
                   "measured {:.1f} tok/s (predicted {:.1f}: {}), {:.3f} times the {:.1f} tok/s of "
                   "the unchanged model in turn with it (predicted {:.3f}: {})\n",
                   verified.speed->tokens_per_s, plan.speed->tokens_per_s,
                   percent(plan.speed->tokens_per_s, verified.speed->tokens_per_s),
                   verified.speed->ratio, verified.speed->base_tokens_per_s, plan.speed->ratio,
                   percent(plan.speed->ratio, verified.speed->ratio));
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
  if (budgets.tokens_per_s) LATHE_OK(planner.calibrate_speed());
  // What is impossible is refused before mixtures are measured; these change the prediction alone.
  LATHE_TRY(Planner::Plan plan, planner.plan(budgets));
  if (!options.additive) {
    LATHE_OK(planner.calibrate());
    plan.predicted_kl = planner.predict(plan.additive_kl);
  }
  const std::string summary = summary_of(plan), yaml = recipe_yaml(plan.recipe, summary);
  if (!options.out.empty()) LATHE_OK(write_atomically(options.out, yaml));
  if (!common.json && options.out.empty()) fmt::print("{}", yaml);
  if (!common.json && !options.out.empty()) {
    fmt::print("{}\n{}: lathe compress {} -r {} -o OUT\n", summary, options.out,
               options.analysis.model, options.out);
  }
  // The prediction stands before it is put to the test.
  std::fflush(stdout);

  std::vector<Measurement> rows = rows_of(plan);
  if (options.verify || !options.verify_data.empty()) {
    CalibrationSpec held_out = spec.loss;
    if (!options.verify_data.empty()) held_out.data = options.verify_data;
    double predicted = plan.predicted_kl;
    if (!options.verify_data.empty() && !options.additive) {
      LATHE_TRY(predicted, planner.predict_on(held_out, plan.additive_kl));
      rows.push_back(row("predicted_kl_on_verify_data", predicted, "nats", "lower"));
      spdlog::info("predicted on {}, by the two mixtures around it: KL {:.6g}", held_out.data,
                   predicted);
    }
    LATHE_TRY(const auto verified,
              planner.verify(plan.recipe, held_out, budgets.tokens_per_s.has_value()));
    LATHE_OK(planner.check_bytes(plan, verified));
    for (Measurement& m : rows_of(verified)) rows.push_back(std::move(m));
    // Not into a recipe that goes to a file.
    if (!common.json) {
      fmt::print(options.out.empty() ? stderr : stdout, "{}",
                 text_of(plan, predicted, verified, held_out.data));
    }
  }
  if (!common.json) return kDone;
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
