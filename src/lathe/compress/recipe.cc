#include "lathe/compress/recipe.h"

#include <algorithm>

#include "lathe/base/check.h"
#include "lathe/base/hash.h"
#include "lathe/base/mapped_file.h"
#include "lathe/compress/pass.h"
#include "lathe/io/yaml.h"
#include "lathe/text/regex.h"

namespace lathe {

std::string Recipe::format() const {
  std::string format = "keep";
  for (const RecipeStep& step : steps) {
    if (step.parameters.contains("format")) format = step.parameters["format"].get<std::string>();
  }
  return format;
}

bool Recipe::prunes() const {
  for (const RecipeStep& step : steps) {
    if (lathe::prunes(find_pass(step.pass).value()->kind)) return true;
  }
  return false;
}

bool Recipe::needs_calibration() const {
  for (const RecipeStep& step : steps) {
    if (find_pass(step.pass).value()->needs_calibration) return true;
  }
  return false;
}

Status check_calibration(const Recipe& recipe) {
  if (recipe.needs_calibration() && !recipe.calibration) {
    return bad_input("this recipe looks at calibration data, and names none")
        .with_hint("add calibration: {data: FILE} to it, or --calibration FILE");
  }
  if (!recipe.calibration || !recipe.calibration->stored()) return {};
  for (const RecipeStep& step : recipe.steps) {
    const Pass* pass = find_pass(step.pass).value();
    const bool enough = pass->importances_suffice || !recipe.calibration->hessians.empty();
    if (pass->needs_calibration && !enough) {
      return bad_input("pass '{}' needs more of the inputs than importances", pass->name)
          .with_hint("give it text: calibration: {data: FILE}, or --calibration FILE");
    }
    if (reshapes(pass->kind) && recipe.needs_calibration()) {
      return bad_input("pass '{}' changes the model that the stored statistics are of", pass->name)
          .with_hint("give it text: calibration: {data: FILE}, or --calibration FILE");
    }
  }
  return {};
}

std::string Recipe::hash() const { return sha256_hex(to_json(*this).dump()); }

nlohmann::json to_json(const Recipe& recipe) {
  nlohmann::json out = {{"passes", nlohmann::json::array()}};
  for (const RecipeStep& step : recipe.steps) {
    nlohmann::json entry;
    entry[step.pass] = step.parameters;
    out["passes"].push_back(std::move(entry));
  }
  if (!recipe.embeddings.empty()) out["embeddings"] = recipe.embeddings;
  if (!recipe.head.empty()) out["head"] = recipe.head;
  if (!recipe.mixture.empty()) out["mixture"] = recipe.mixture;
  if (recipe.calibration) out["calibration"] = to_json(*recipe.calibration);
  for (const RecipeOverride& entry : recipe.overrides) {
    nlohmann::json j = {{"match", entry.match}};
    if (entry.format) j["format"] = *entry.format;
    if (entry.sparsity) j["sparsity"] = *entry.sparsity;
    if (entry.pattern) j["pattern"] = *entry.pattern;
    out["overrides"].push_back(std::move(j));
  }
  return out;
}

Result<Recipe> load_recipe(const std::string& path) {
  LATHE_TRY(const std::string text, read_text(path, size_t{1} << 20));
  LATHE_TRY(const nlohmann::json json, yaml_to_json(text, path));
  LATHE_TRY_IN(Recipe recipe, recipe_from_json(json), path);
  return recipe;
}

bool glob_matches(std::string_view glob, std::string_view name) {
  // Greedy, going back to the last '*' when stuck: at most |glob|·|name| steps.
  size_t g = 0, n = 0, star = std::string_view::npos, resume = 0;
  while (n < name.size()) {
    if (g < glob.size() && glob[g] == '*') {
      star = g++;
      resume = n;
    } else if (g < glob.size() && (glob[g] == '?' || glob[g] == name[n])) {
      ++g;
      ++n;
    } else if (star != std::string_view::npos) {
      g = star + 1;
      n = ++resume;
    } else {
      return false;
    }
  }
  while (g < glob.size() && glob[g] == '*') ++g;
  return g == glob.size();
}

namespace {

bool is_regex(std::string_view pattern) {
  return pattern.size() > 2 && pattern.starts_with('/') && pattern.ends_with('/');
}
Result<text::Regex> regex_of(const std::string& pattern) {
  return text::Regex::compile(pattern.substr(1, pattern.size() - 2));
}

}  // namespace

Status check_pattern(const std::string& pattern) {
  if (pattern.empty()) return bad_input("an empty pattern matches nothing");
  if (!is_regex(pattern)) return {};
  if (auto regex = regex_of(pattern); !regex.ok()) return std::move(regex).error().in(pattern);
  return {};
}

bool pattern_matches(const std::string& pattern, std::string_view name) {
  if (!is_regex(pattern)) return glob_matches(pattern, name);
  std::vector<text::Range> found;
  regex_of(pattern).value().find_all(name, found);
  return !found.empty();
}

Status keep(Recipe& recipe, const std::string& text) {
  // The last '=': formats have none, a regular expression may.
  const size_t equals = is_regex(text) ? std::string::npos : text.rfind('=');
  RecipeOverride entry{text.substr(0, equals), "keep", {}, {}};
  double sparsity = 0;
  if (equals != std::string::npos) {
    std::string format = text.substr(equals + 1);
    if (const size_t at = format.find('@'); at != std::string::npos) {
      const auto number = nlohmann::json::parse(format.substr(at + 1), nullptr, false);
      if (!number.is_number()) return bad_input("'{}' is no number", format.substr(at + 1));
      LATHE_TRY_IN(sparsity, sparsity_from_json(number), "sparsity");
      format.resize(at);
    }
    LATHE_TRY(entry.format, storage_from_json(nlohmann::json(format)));
  }
  LATHE_OK(check_pattern(entry.match));
  if (recipe.prunes()) {
    entry.sparsity = sparsity;
  } else if (sparsity > 0) {
    return bad_input("a sparsity, but no pass prunes").with_hint("give --prune, or a recipe");
  }
  const bool has_format = std::any_of(
      recipe.steps.begin(), recipe.steps.end(),
      [](const RecipeStep& step) { return quantizes(find_pass(step.pass).value()->kind); });
  if (!has_format) {
    LATHE_TRY(nlohmann::json parameters,
              check_parameters(*find_pass("rtn").value(), {{"format", "keep"}}));
    recipe.steps.push_back({"rtn", std::move(parameters)});
  }
  recipe.overrides.push_back(std::move(entry));
  return {};
}

}  // namespace lathe
