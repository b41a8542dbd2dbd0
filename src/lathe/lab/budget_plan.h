// The planner: which format and sparsity every matrix should have, so that the predicted loss is
// least within budgets of size and speed.
//
// The divergence of a model with many changed matrices is predicted as the sum S of what each alone
// costs (to second order their errors add up where they are uncorrelated), times a factor that
// depends on S: measured on mixtures from the smallest to the largest, more of them where it
// changes fast (correction.h). The choice is the least S, a multiple-choice knapsack
// (choice_solver.h). Sizes are those of the analysis: exact, but for what a sparse layout takes
// after a method that looks at the inputs. Speeds are sums of kernel times.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "lathe/compress/recipe.h"
#include "lathe/lab/analysis.h"
#include "lathe/lab/correction.h"
#include "lathe/lab/loss_meter.h"

namespace lathe {

struct Budgets {
  std::optional<double> bytes;            // of all weights, as stored
  std::optional<double> bits_per_weight;  // over all parameters, tables included
  std::optional<double> tokens_per_s;     // decoding one sequence, after a short prompt
};
// Decoding one sequence. The ratio is what holds on another day too: both drift with the machine.
struct Speed {
  double tokens_per_s, base_tokens_per_s;  // of the changed and of the unchanged model
  double ratio;
};

// "2GB", "1.5GiB", "4.5bpw", "30tok/s" (any number of them, each kind once).
Status add_budget(Budgets& budgets, const std::string& text);

class Planner {
 public:
  // `source` must outlive this. `keep`: as of keep() in recipe.h.
  static Result<Planner> create(const Checkpoint& source, Analysis analysis, AnalysisSpec spec,
                                const std::vector<std::string>& keep, ThreadPool& pool);

  // Measures the mixtures that the analysis folder lacks (mixtures.jsonl there). Without it the
  // prediction is the plain sum.
  Status calibrate();

  // Kernels by themselves run a few percent faster than one after another in a model. So the
  // fastest choice of all is compressed and decodes in turn with the source, once per analysis and
  // number of threads (times.jsonl); a step is then linear in the kernels' sum, and right at both
  // ends.
  Status calibrate_speed();

  struct Plan {
    std::vector<Candidate> choice;  // of each matrix of the analysis
    Recipe recipe;
    int64_t bytes = 0;
    double bits_per_weight = 0;
    std::optional<Speed> speed;
    double additive_kl = 0, predicted_kl = 0;
    double bound = 0;  // no choice has a smaller sum than this
  };
  // kNoRoom where no choice lies within the budgets; the error says what is possible.
  Result<Plan> plan(const Budgets& budgets) const;

  // The same prediction for any sum.
  double predict(double additive_kl) const { return correction_.predict(additive_kl); }

  // The prediction for another text, on which the two mixtures around the sum are measured: never
  // the one that has this sum itself. The plain sum without calibrate().
  Result<double> predict_on(const CalibrationSpec& data, double additive_kl) const;

  // Compresses by the recipe into a temporary folder and measures on `data` (as the analysis does).
  struct Verified {
    LossChange change;
    int64_t bytes = 0;
    std::optional<Speed> speed;  // the two models in turn, medians of seven rounds
  };
  Result<Verified> verify(const Recipe& recipe, const CalibrationSpec& data, bool speed) const;

  // An error where a size is not what was planned, though nothing in the recipe lets it be: sparse
  // layouts after passes that look at the inputs, which depend on what was compressed before.
  Status check_bytes(const Plan& plan, const Verified& verified) const;

  const Analysis& analysis() const { return analysis_; }

 private:
  struct Option {
    Candidate candidate;
    const SensitivityRow* row;
  };
  Planner(const Checkpoint& source, Analysis analysis, AnalysisSpec spec, ThreadPool& pool)
      : source_(&source), analysis_(std::move(analysis)), spec_(std::move(spec)), pool_(&pool) {}

  using Options = std::vector<std::vector<Option>>;  // of each matrix
  Result<Plan> solve(const Options& options, const Budgets& budgets) const;
  Result<Speed> speed_of(const std::string& model) const;
  Recipe recipe_of(const std::vector<Candidate>& choice) const;
  Error impossible(const struct ChoiceProblem& problem, const Budgets& budgets, double fixed_bytes,
                   double other_seconds) const;

  const Checkpoint* source_;
  Analysis analysis_;
  AnalysisSpec spec_;
  ThreadPool* pool_;
  Options all_, allowed_;  // without and with what was asked to be kept
  Correction correction_;
  std::map<double, Plan> mixtures_;  // that it was made from, by their sums
  double kernel_scale_ = 1;
  std::optional<double> other_seconds_;  // empty: the analysis's
};

// The recipe as a YAML file, `comment` in front of it.
std::string recipe_yaml(const Recipe& recipe, const std::string& comment);

}  // namespace lathe
