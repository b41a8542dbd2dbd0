#include "lathe/lab/budget_plan.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "lathe/backend/cpu/cpu_backend.h"
#include "lathe/base/log.h"
#include "lathe/base/parse_json.h"
#include "lathe/base/parse_number.h"
#include "lathe/base/progress.h"
#include "lathe/compress/compressor.h"
#include "lathe/lab/analysis_files.h"
#include "lathe/lab/choice_solver.h"
#include "lathe/lab/kernel_times.h"

namespace lathe {
namespace {

using Json = nlohmann::json;

constexpr int kFirstMixtures = 12, kMostMixtures = 32;
constexpr int kSpeedRounds = 7;
constexpr double kLeastGain = 0.05;  // of a step, below which there is no speed to be gained

// A folder that is gone afterwards.
class Temporary {
 public:
  explicit Temporary(std::string path) : path_(std::move(path)) {}
  ~Temporary() {
    std::error_code error;
    std::filesystem::remove_all(path_, error);
  }
  Temporary(const Temporary&) = delete;
  Temporary& operator=(const Temporary&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

std::string size_text(double bytes) {
  if (bytes >= 1e9) return fmt::format("{:.3f} GB", bytes * 1e-9);
  return fmt::format("{:.3f} MB", bytes * 1e-6);
}

// Each must decide what at least one matrix becomes.
Status check_keeps(const Recipe& kept, const std::vector<std::string>& texts,
                   const Analysis& analysis) {
  for (size_t i = 0; i < texts.size(); ++i) {
    bool matches = false, decides = false;
    std::string other;
    for (const Analysis::Matrix& matrix : analysis.matrices) {
      if (!pattern_matches(kept.overrides[i].match, matrix.info.name)) continue;
      matches = true;
      size_t last = i;
      for (size_t j = i + 1; j < texts.size(); ++j) {
        if (pattern_matches(kept.overrides[j].match, matrix.info.name)) last = j;
      }
      decides |= last == i;
      if (last != i) other = texts[last];
    }
    if (!matches) return bad_input("--keep '{}' matches no matrix of this model", texts[i]);
    if (decides) continue;
    return bad_input("--keep '{}' decides nothing: '{}' comes after it for the same matrices",
                     texts[i], other)
        .with_hint("leave one of them out, or put the more general one first");
  }
  return {};
}

}  // namespace

Status add_budget(Budgets& budgets, const std::string& text) {
  const size_t end = text.find_first_not_of("0123456789.");
  const std::string unit = end == std::string::npos ? "" : text.substr(end);
  const std::string digits = text.substr(0, end);
  const Json number = Json::parse(digits, nullptr, false);
  const std::vector<std::pair<std::string, double>> sizes = {
      {"B", 1},     {"KB", 1e3},     {"MB", 1e6},        {"GB", 1e9},
      {"TB", 1e12}, {"KiB", 1024.0}, {"MiB", 1048576.0}, {"GiB", 1073741824.0}};
  const Error usage =
      bad_input("budget '{}': expected a number above 0 with its unit", text)
          .with_hint("for example 2GB, 700MiB, 4.5bpw (bits per weight) or 30tok/s");
  if (!number.is_number() || !(number.get<double>() > 0)) return usage;
  const auto value = number.get<double>();
  std::optional<double>* target = nullptr;
  double factor = 1;
  if (unit == "bpw") {
    target = &budgets.bits_per_weight;
  } else if (unit == "tok/s") {
    target = &budgets.tokens_per_s;
  } else {
    for (const auto& [name, bytes] : sizes) {
      if (unit != name) continue;
      target = &budgets.bytes;
      factor = bytes;
    }
  }
  if (!target) return usage;
  if (*target) return bad_input("budget '{}': there is one in this unit already", text);
  *target = value * factor;
  return {};
}

Result<Planner> Planner::create(const Checkpoint& source, Analysis analysis, AnalysisSpec spec,
                                const std::vector<std::string>& keep_texts, ThreadPool& pool) {
  Planner out(source, std::move(analysis), std::move(spec), pool);
  // As overrides of a recipe, the last one wins.
  LATHE_TRY(Recipe kept, recipe_from_json({{"prune", out.spec_.prune + ":0"}}));
  for (const std::string& text : keep_texts) {
    LATHE_OK_IN(keep(kept, text), fmt::format("--keep '{}'", text));
  }
  LATHE_OK(check_keeps(kept, keep_texts, out.analysis_));
  for (const Analysis::Matrix& matrix : out.analysis_.matrices) {
    std::vector<Option> all;
    for (const SensitivityRow* row : out.analysis_.rows_of(matrix.info.name)) {
      const auto& wanted = out.spec_.candidates;
      const bool offered = row->candidate == Candidate{} ||
                           std::find(wanted.begin(), wanted.end(), row->candidate) != wanted.end();
      if (offered) all.push_back({row->candidate, row});
    }
    if (all.empty()) return bad_input("{}: the analysis is not complete", matrix.info.name);
    std::vector<Option> allowed = all;
    for (const RecipeOverride& entry : kept.overrides) {
      if (!pattern_matches(entry.match, matrix.info.name)) continue;
      Candidate asked{*entry.format, entry.sparsity.value_or(0)};
      LATHE_TRY_IN(asked, parse_candidate(asked.text()), "--keep");
      if (asked.format == matrix.format) asked.format = "keep";
      allowed.clear();
      for (const Option& option : all) {
        if (option.candidate == asked) allowed.push_back(option);
      }
      if (allowed.empty()) {
        return bad_input("--keep: {} in {} is not in the analysis", matrix.info.name, asked.text())
            .with_hint(
                "name it among --candidates; formats no smaller than the source's are "
                "left out");
      }
    }
    out.all_.push_back(std::move(all));
    out.allowed_.push_back(std::move(allowed));
  }
  return out;
}

Recipe Planner::recipe_of(const std::vector<Candidate>& choice) const {
  Json passes = Json::array(), overrides = Json::array();
  const bool sparse =
      std::any_of(choice.begin(), choice.end(), [](const Candidate& c) { return c.sparsity > 0; });
  if (sparse) passes.push_back({{spec_.prune, {{"sparsity", 0.0}}}});
  passes.push_back({{spec_.method, {{"format", "keep"}}}});
  for (size_t i = 0; i < choice.size(); ++i) {
    Json entry = {{"match", analysis_.matrices[i].info.name}, {"format", choice[i].format}};
    if (choice[i].sparsity > 0) entry["sparsity"] = choice[i].sparsity;
    if (const std::string pattern = choice[i].pattern(); !pattern.empty()) {
      entry["pattern"] = pattern;
    }
    overrides.push_back(std::move(entry));
  }
  Json json = {{"passes", passes}, {"overrides", overrides}};
  Recipe recipe = recipe_from_json(json).value();
  if (recipe.needs_calibration()) recipe.calibration = spec_.inputs;
  return recipe;
}

Error Planner::impossible(const ChoiceProblem& problem, const Budgets& budgets, double fixed_bytes,
                          double other_seconds) const {
  const auto parameters = static_cast<double>(analysis_.parameters);
  const auto said = [&](double bytes) {
    const double all = bytes + fixed_bytes;
    return fmt::format("{} ({:.3f} bits per weight)", size_text(all), 8 * all / parameters);
  };
  ChoiceProblem alone = problem;
  alone.budget[1] = kNoBudget;
  const double smallest = least_cost(alone, 0).value();
  if (smallest > problem.budget[0]) {
    return no_room("the budget of {} is impossible: the smallest possible is {}",
                   size_text(problem.budget[0] + fixed_bytes), said(smallest))
        .with_hint("add smaller formats to --candidates, or free what --keep names");
  }
  alone = problem;
  alone.budget[0] = kNoBudget;
  const double fastest = least_cost(alone, 1).value();
  if (fastest > problem.budget[1]) {
    return no_room("the budget of {} tok/s is impossible: the fastest possible is {:.1f} tok/s",
                   *budgets.tokens_per_s, 1 / (fastest + other_seconds))
        .with_hint("add faster formats to --candidates, or free what --keep names");
  }
  const auto both = least_cost(problem, 0);
  return no_room("the budgets are impossible together: at {} tok/s the smallest possible is {}",
                 *budgets.tokens_per_s, both ? said(*both) : "not to be found");
}

Result<Planner::Plan> Planner::solve(const Options& options, const Budgets& budgets) const {
  const int threads = pool_->size();
  const auto fixed = static_cast<double>(analysis_.vector_bytes);
  const auto parameters = static_cast<double>(analysis_.parameters);
  const std::optional<double> other =
      other_seconds_ ? other_seconds_ : analysis_.other_seconds(threads);
  ChoiceProblem problem;
  if (budgets.bytes) problem.budget[0] = *budgets.bytes - fixed;
  if (budgets.bits_per_weight) {
    problem.budget[0] =
        std::min(problem.budget[0], *budgets.bits_per_weight * parameters / 8 - fixed);
  }
  if (budgets.tokens_per_s) {
    if (!other) {
      return bad_input("no kernel times with {} threads in {}", threads, analysis_.folder)
          .with_hint("leave --no-times out");
    }
    problem.budget[1] = 1 / *budgets.tokens_per_s - *other;
  }
  for (size_t m = 0; m < options.size(); ++m) {
    std::vector<ChoiceOption> group;
    for (const Option& option : options[m]) {
      const auto seconds = analysis_.seconds(analysis_.matrices[m], option.candidate, threads);
      if (budgets.tokens_per_s && !seconds) {
        return bad_input("no time of {} in {}", analysis_.matrices[m].info.name,
                         option.candidate.text());
      }
      group.push_back(
          {option.row->kl,
           {static_cast<double>(option.row->bytes), kernel_scale_ * seconds.value_or(0)}});
    }
    problem.groups.push_back(std::move(group));
  }
  const auto solution = solve_choice(problem);
  if (!solution) return impossible(problem, budgets, fixed, other.value_or(0));
  Plan plan;
  double seconds = other.value_or(0), base_seconds = seconds;
  for (size_t m = 0; m < options.size(); ++m) {
    const Option& option = options[m][solution->choice[m]];
    plan.choice.push_back(option.candidate);
    plan.bytes += option.row->bytes;
    seconds += problem.groups[m][solution->choice[m]].cost[1];
    base_seconds +=
        kernel_scale_ * analysis_.seconds(analysis_.matrices[m], {}, threads).value_or(0);
  }
  plan.bytes += analysis_.vector_bytes;
  plan.bits_per_weight = 8 * static_cast<double>(plan.bytes) / parameters;
  if (other) plan.speed = {1 / seconds, 1 / base_seconds, base_seconds / seconds};
  plan.additive_kl = solution->loss;
  plan.bound = solution->bound;
  plan.predicted_kl = correction_.predict(solution->loss);
  plan.recipe = recipe_of(plan.choice);
  return plan;
}

Result<Planner::Plan> Planner::plan(const Budgets& budgets) const {
  return solve(allowed_, budgets);
}

Status Planner::calibrate() {
  const std::string path = analysis_.folder + "/mixtures.jsonl";
  LATHE_TRY(const auto lines, read_lines(path));
  const auto measured = [&](const std::string& hash) -> std::optional<double> {
    for (const Json& line : lines) {
      if (member_or(line, "recipe_hash", "") == hash && line.contains("kl") &&
          line["kl"].is_number()) {
        return line["kl"].get<double>();
      }
    }
    return std::nullopt;
  };
  double least = 0, most = 0;
  for (const auto& options : all_) {
    int64_t smallest = options[0].row->bytes, largest = 0;
    for (const Option& option : options) {
      smallest = std::min(smallest, option.row->bytes);
      largest = std::max(largest, option.row->bytes);
    }
    least += static_cast<double>(smallest);
    most += static_cast<double>(largest);
  }
  correction_ = {};
  mixtures_.clear();
  Progress progress("measuring mixtures", kMostMixtures, "mixtures");
  // The best of at most so many bytes; measured unless it is known. Gives whether it is a new one.
  const auto add = [&](double bytes) -> Result<bool> {
    Budgets budgets;
    budgets.bytes = bytes;
    LATHE_TRY(const Plan plan, solve(all_, budgets));
    const std::string hash = plan.recipe.hash();
    std::optional<double> kl = measured(hash);
    if (!kl) {
      LATHE_TRY(const Verified verified, verify(plan.recipe, spec_.loss, false));
      kl = verified.change.kl;
      LATHE_OK(append_line(path, {{"recipe_hash", hash},
                                  {"bytes", plan.bytes},
                                  {"additive_kl", plan.additive_kl},
                                  {"kl", *kl},
                                  {"recipe", to_json(plan.recipe)}}));
    }
    progress.advance();
    const size_t before = correction_.size();
    mixtures_[plan.additive_kl] = plan;
    if (plan.additive_kl > 0 && *kl > 0) {
      correction_.add({static_cast<double>(plan.bytes), plan.additive_kl, *kl});
    }
    return correction_.size() > before;
  };
  const auto vectors = static_cast<double>(analysis_.vector_bytes);
  for (int i = 0; i < kFirstMixtures; ++i) {
    const double share = static_cast<double>(i) / kFirstMixtures;
    LATHE_OK(add(vectors + std::ceil(least * std::pow(most / least, share))));
  }
  for (int i = kFirstMixtures; i < kMostMixtures; ++i) {
    const auto sizes = correction_.widest();
    if (!sizes) break;
    LATHE_TRY(const bool is_new, add(std::floor(std::sqrt(sizes->first * sizes->second))));
    if (!is_new) correction_.close(*sizes);
  }
  return {};
}

Result<double> Planner::predict_on(const CalibrationSpec& data, double sum) const {
  Correction there;
  const auto add = [&](const Plan& mixture) -> Status {
    LATHE_TRY(const Verified verified, verify(mixture.recipe, data, false));
    if (mixture.additive_kl > 0 && verified.change.kl > 0) {
      there.add({static_cast<double>(mixture.bytes), mixture.additive_kl, verified.change.kl});
    }
    return {};
  };
  const auto above = mixtures_.upper_bound(sum);
  if (above != mixtures_.end()) LATHE_OK(add(above->second));
  const auto here = mixtures_.lower_bound(sum);
  if (here != mixtures_.begin()) LATHE_OK(add(std::prev(here)->second));
  return there.predict(sum);
}

Result<Planner::Verified> Planner::verify(const Recipe& recipe, const CalibrationSpec& data,
                                          bool speed) const {
  const Temporary folder(fmt::format("{}/verify-{}", analysis_.folder, ::getpid()));
  LATHE_TRY(const CompressionReport report,
            compress(*source_, recipe, folder.path(), *pool_, {.overwrite = true}));
  Verified out;
  out.bytes = report.stored_bytes;
  LATHE_TRY(const Isa isa, chosen_isa());
  LATHE_TRY(const Math math, chosen_math(Math::kExact));
  const auto ops = make_cpu_ops(isa, *pool_, math);
  {
    LATHE_TRY(auto samples, calibration_samples(data, source_->tokenizer_path()));
    LATHE_TRY(auto base, load_model(*source_, *ops));
    LATHE_TRY(const auto meter, LossMeter::create(std::move(base), *ops, std::move(samples)));
    LATHE_TRY(const auto changed, load_model(folder.path(), *ops));
    LATHE_TRY(out.change, meter->measure(*changed, -1));
  }
  if (speed) {
    LATHE_TRY(out.speed, speed_of(folder.path()));
  }
  return out;
}

Result<Speed> Planner::speed_of(const std::string& model) const {
  const EngineOptions options{.threads = pool_->size()};
  LATHE_TRY(const Engine unchanged, open_engine(source_->path(), options));
  LATHE_TRY(const Engine changed, open_engine(model, options));
  LATHE_TRY(const auto checkpoint, open_checkpoint(model));
  std::vector<double> steps, base_steps, ratios;
  for (int round = -1; round < kSpeedRounds; ++round) {
    LATHE_TRY(const double base, step_seconds(unchanged, *source_));
    LATHE_TRY(const double step, step_seconds(changed, *checkpoint));
    if (round < 0) continue;  // warms up
    base_steps.push_back(base);
    steps.push_back(step);
    ratios.push_back(base / step);
  }
  return Speed{1 / median_of(steps), 1 / median_of(base_steps), median_of(ratios)};
}

Status Planner::calibrate_speed() {
  const int threads = pool_->size();
  const std::optional<double> other = analysis_.other_seconds(threads);
  if (!other) return {};  // plan() says what is missing
  std::vector<Candidate> fastest;
  double base_sum = 0, fastest_sum = 0;
  for (size_t m = 0; m < all_.size(); ++m) {
    const Analysis::Matrix& matrix = analysis_.matrices[m];
    std::optional<double> least;
    for (const Option& option : all_[m]) {
      const auto seconds = analysis_.seconds(matrix, option.candidate, threads);
      if (!seconds) return {};
      if (least && *least <= *seconds) continue;
      if (least) fastest.pop_back();
      fastest.push_back(option.candidate);
      least = seconds;
    }
    base_sum += analysis_.seconds(matrix, {}, threads).value_or(0);
    fastest_sum += *least;
  }
  const double base_step = base_sum + *other;
  if (base_sum - fastest_sum < kLeastGain * base_step) return {};
  const Recipe recipe = recipe_of(fastest);
  std::optional<double> step = analysis_.step_seconds(recipe.hash(), threads);
  if (!step) {
    const Temporary folder(fmt::format("{}/fastest-{}", analysis_.folder, ::getpid()));
    LATHE_OK(compress(*source_, recipe, folder.path(), *pool_, {.overwrite = true}));
    LATHE_TRY(const Speed speed, speed_of(folder.path()));
    step = base_step / speed.ratio;
    const KernelTime time{-1, 0, recipe.hash(), threads, *step};
    LATHE_OK(append_line(analysis_.folder + "/times.jsonl", to_json(time)));
    analysis_.times.push_back(time);
  }
  const double scale = (base_step - *step) / (base_sum - fastest_sum);
  if (scale <= 0) {
    spdlog::warn("the fastest choice is not faster than the source: speeds are plain sums");
    return {};
  }
  kernel_scale_ = scale;
  other_seconds_ = base_step - scale * base_sum;
  return {};
}

Status Planner::check_bytes(const Plan& plan, const Verified& verified) const {
  if (verified.bytes == plan.bytes) return {};
  const bool varies = plan.recipe.needs_calibration() &&
                      std::any_of(plan.choice.begin(), plan.choice.end(), [](const Candidate& c) {
                        return c.format != "keep" &&
                               parse_format(c.format).value()->encoding() == Encoding::kSparse;
                      });
  if (varies) return {};
  return failed("planned {} bytes, but compressing gave {}", plan.bytes, verified.bytes);
}

std::string recipe_yaml(const Recipe& recipe, const std::string& comment) {
  std::string out;
  for (size_t begin = 0; begin < comment.size();) {
    const size_t end = std::min(comment.find('\n', begin), comment.size());
    out += "# " + comment.substr(begin, end - begin) + "\n";
    begin = end + 1;
  }
  // JSON is YAML; one line a pass and a matrix.
  const Json json = to_json(recipe);
  for (const auto& [key, value] : json.items()) {
    if (!value.is_array()) {
      out += key + ": " + value.dump() + "\n";
      continue;
    }
    out += key + ":\n";
    for (const Json& entry : value) out += "  - " + entry.dump() + "\n";
  }
  return out;
}

}  // namespace lathe
