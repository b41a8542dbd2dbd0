#include "lathe/compress/plan.h"

#include <algorithm>
#include <set>

#include "lathe/base/mapped_file.h"
#include "lathe/base/suggest.h"
#include "lathe/compress/mixture.h"

namespace lathe {
namespace {

bool in_block(const MatrixInfo& info) { return info.layer >= 0; }
bool is_table(const MatrixInfo& info) { return !info.linear; }

// Named by a pattern that must name something; the error lists what there is.
Status check_match(const std::vector<MatrixInfo>& matrices, const std::string& pattern,
                   const std::string& where) {
  std::vector<std::string> known;
  for (const MatrixInfo& info : matrices) {
    if (pattern_matches(pattern, info.name)) return {};
    known.push_back(info.name);
  }
  const bool tied = std::none_of(matrices.begin(), matrices.end(),
                                 [](const MatrixInfo& info) { return info.name == "lm_head"; });
  if (pattern == "lm_head" && tied) {
    return bad_input("{}: this model has no lm_head of its own", where)
        .with_hint("its head is the embedding table: name model.embed_tokens");
  }
  if (known.size() > 8) known.erase(known.begin() + 8, known.end());
  return bad_input("{}: '{}' matches no matrix of this model", where, pattern)
      .with_hint(fmt::format("names are like {}", suggest("", known)));
}

std::string keeping_zeros() {
  std::string list;
  for (const FormatKind& kind : format_kinds()) {
    for (const std::string& example : kind.examples) {
      const FormatPtr format = parse_format(example).value();
      if (!format->exact_zero() || !format->can_encode()) continue;
      list += (list.empty() ? "" : ", ") + example;
      break;
    }
  }
  return list;
}

class Planner {
 public:
  Planner(const Checkpoint& source, const Recipe& recipe)
      : source_(source), recipe_(recipe), matrices_(matrices_of(source.config())) {
    for (const RecipeStep& step : recipe.steps) passes_.push_back(find_pass(step.pass).value());
  }

  Result<std::vector<MatrixPlan>> run() {
    LATHE_OK(check_names());
    LATHE_OK(check_head());
    std::vector<MatrixPlan> plans;
    for (const MatrixInfo& info : matrices_) {
      LATHE_TRY_IN(MatrixPlan plan, plan_of(info), info.name);
      plans.push_back(std::move(plan));
    }
    return plans;
  }

 private:
  static bool includes(const RecipeStep& step, const std::string& name) {
    if (!step.parameters.contains("include")) return false;
    for (const auto& glob : step.parameters["include"]) {
      if (glob_matches(glob.get<std::string>(), name)) return true;
    }
    return false;
  }

  bool prunes(size_t step, const MatrixInfo& info) const {
    return lathe::prunes(passes_[step]->kind) &&
           (in_block(info) || includes(recipe_.steps[step], info.name));
  }

  Status check_names() const {
    for (const RecipeStep& step : recipe_.steps) {
      if (!step.parameters.contains("include")) continue;
      for (const auto& glob : step.parameters["include"]) {
        LATHE_OK(check_match(matrices_, glob.get<std::string>(), step.pass + ": include"));
      }
    }
    for (size_t i = 0; i < recipe_.overrides.size(); ++i) {
      const RecipeOverride& entry = recipe_.overrides[i];
      LATHE_OK(check_match(matrices_, entry.match, fmt::format("overrides[{}]", i)));
      if (entry.sparsity.value_or(0) == 0) continue;
      bool acts = false;
      for (const MatrixInfo& info : matrices_) {
        for (size_t s = 0; s < passes_.size(); ++s) {
          acts |= pattern_matches(entry.match, info.name) && prunes(s, info);
        }
      }
      if (!acts) {
        return bad_input("overrides[{}]: 'sparsity', but '{}' is not pruned", i, entry.match)
            .with_hint("name it under 'include' of the pruning pass as well");
      }
    }
    return {};
  }

  Status check_head() const {
    if (!source_.config().tied || recipe_.head.empty() || recipe_.head == recipe_.embeddings) {
      return {};
    }
    return bad_input("head: {}, but this model's head is its embedding table", recipe_.head)
        .with_hint("leave 'head' out, and say 'embeddings' for both");
  }

  Result<MatrixPlan> plan_of(const MatrixInfo& info) {
    MatrixPlan plan{info, {}, nullptr};
    std::optional<std::string> format;
    std::optional<double> sparsity;
    std::string pattern;
    const std::string& outside_asked = is_table(info) ? recipe_.embeddings : recipe_.head;
    if (!recipe_.mixture.empty() && (in_block(info) || outside_asked.empty())) {
      format = mixture_format(recipe_.mixture, info, source_.config());
    }
    for (const RecipeOverride& entry : recipe_.overrides) {
      if (!pattern_matches(entry.match, info.name)) continue;
      if (entry.format) format = entry.format;
      if (entry.sparsity) sparsity = entry.sparsity;
      if (entry.sparsity) pattern = entry.pattern.value_or("");
    }
    std::string stored = "keep";
    bool pruned = false;
    for (size_t s = 0; s < passes_.size(); ++s) {
      const nlohmann::json& parameters = recipe_.steps[s].parameters;
      StepTarget target;
      if (prunes(s, info)) {
        target.applies = true;
        target.own_sparsity = sparsity.has_value();
        target.pattern = pattern;
        target.sparsity = sparsity.value_or(parameters["sparsity"].get<double>());
        pruned |= target.sparsity > 0;
      }
      if (quantizes(passes_[s]->kind) && in_block(info)) {
        stored = format.value_or(parameters["format"].get<std::string>());
        target.applies |= stored != "keep";
        if (stored != "keep") {
          LATHE_TRY(target.format, parse_format(stored));
          LATHE_OK(target.format->supports(info.rows, info.cols));
          if (passes_[s]->supports) {
            LATHE_OK(passes_[s]->supports(target.format, info.rows, info.cols));
          }
        }
      }
      plan.steps.push_back(std::move(target));
    }
    if (!in_block(info)) stored = format.value_or(outside(info));
    LATHE_OK(resolve(stored, pruned, plan));
    return plan;
  }

  // Storage of what lies outside of the blocks: a spec, "keep", or "16" for the default.
  std::string outside(const MatrixInfo& info) const {
    const std::string& asked = is_table(info) ? recipe_.embeddings : recipe_.head;
    if (!asked.empty()) return asked;
    const std::string format = recipe_.format();
    if (format == "keep" || format == "f32" || format == "f16" || format == "bf16") return format;
    return "16";
  }

  Status resolve(const std::string& stored, bool pruned, MatrixPlan& plan) const {
    const MatrixInfo& info = plan.info;
    if (stored != "keep" && stored != "16") {
      LATHE_TRY(plan.stored, parse_format(stored));
      LATHE_OK(plan.stored->supports(info.rows, info.cols));
    } else {
      LATHE_TRY(const WeightMatrix matrix, source_.matrix(info.name, info.rows, info.cols));
      plan.stored = matrix.format_ptr();
      for (const Bytes& part : matrix.parts()) release_pages(part);
      const bool is_float = plan.stored->encoding() == Encoding::kFloat;
      if (stored == "16" && is_float && plan.stored->spec() != "bf16") {
        LATHE_TRY(plan.stored, parse_format("f16"));
      }
      if (pruned && !is_float) {
        return bad_input("cannot be pruned and kept in the source's format {}", plan.stored->spec())
            .with_hint("give the recipe a format, such as int4:g128");
      }
    }
    if (pruned && !plan.stored->exact_zero()) {
      return bad_input("is pruned, but format {} has no exact zero: pruned weights would come back",
                       plan.stored->spec())
          .with_hint("formats that keep zeros: " + keeping_zeros());
    }
    return {};
  }

  const Checkpoint& source_;
  const Recipe& recipe_;
  std::vector<MatrixInfo> matrices_;
  std::vector<const Pass*> passes_;
};

}  // namespace

Result<std::vector<MatrixPlan>> make_plan(const Checkpoint& source, const Recipe& recipe) {
  return Planner(source, recipe).run();
}

}  // namespace lathe
