// Recipe: what is done to a model, as an ordered list of passes with per-layer overrides. See
// docs/compression.md for the two forms in which people write it; both become this one.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "lathe/base/result.h"
#include "lathe/compress/calibration_data.h"

namespace lathe {

// A pass of the registry (pass.h) with all of its parameters, defaults included.
struct RecipeStep {
  std::string pass;
  nlohmann::json parameters = nlohmann::json::object();
};

// For the matrices whose canonical name matches; where several do, the last one wins, key by key.
struct RecipeOverride {
  std::string match;                   // see pattern_matches()
  std::optional<std::string> format;   // a format spec, or "keep": as the source stores it
  std::optional<double> sparsity;      // of each matrix by itself; 0: not pruned
  std::optional<std::string> pattern;  // N:M, in place of the pruning pass's; with its sparsity
};

struct Recipe {
  std::vector<RecipeStep> steps;
  // A format spec or "keep"; empty: the default, 16 bits (see plan.h).
  std::string embeddings, head;
  // A mixture of formats (mixture.h), where neither an override nor `embeddings` or `head` says
  // otherwise; empty: none.
  std::string mixture;
  std::vector<RecipeOverride> overrides;
  std::optional<CalibrationSpec> calibration;  // what passes that need it look at

  // What the last quantizing step stores the linear layers of the blocks in: a format spec, or
  // "keep" where there is no such step.
  std::string format() const;
  bool prunes() const;
  bool needs_calibration() const;
  // Nothing would be changed.
  bool empty() const { return steps.empty() && embeddings.empty() && head.empty(); }
  // SHA-256 of the canonical JSON.
  std::string hash() const;
};

// From either form. Unknown keys, passes and formats are errors that name the nearest known one.
Result<Recipe> recipe_from_json(const nlohmann::json& json);
// A YAML (or JSON) file.
Result<Recipe> load_recipe(const std::string& path);
// The canonical form: {"passes": [{name: {…}}, …]} and, where given, "embeddings", "head",
// "overrides" and "calibration". recipe_from_json gives the same recipe again.
nlohmann::json to_json(const Recipe& recipe);

// Whether the calibration that the recipe names is all that its passes need.
Status check_calibration(const Recipe& recipe);

// '*' stands for any characters, '?' for one.
bool glob_matches(std::string_view glob, std::string_view name);
// A glob over the whole name, or /a regular expression/ that is found somewhere in it.
Status check_pattern(const std::string& pattern);
// `pattern` has passed check_pattern().
bool pattern_matches(const std::string& pattern, std::string_view name);

// "PATTERN", "PATTERN=FORMAT" or "PATTERN=FORMAT@SPARSITY", as on the command line: those matrices
// are stored in FORMAT (as in the source, if left out) and pruned to SPARSITY (not at all). A
// quantizing step for it to act on is added where the recipe has none.
Status keep(Recipe& recipe, const std::string& text);

constexpr double kMostSparsity = 0.95;
Result<double> sparsity_from_json(const nlohmann::json& value);
// A canonical format spec that can be written, or "keep".
Result<std::string> storage_from_json(const nlohmann::json& value);

}  // namespace lathe
