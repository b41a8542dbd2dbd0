#include "lathe/compress/recipe.h"

#include "lathe/base/check.h"
#include "lathe/base/hash.h"
#include "lathe/base/mapped_file.h"
#include "lathe/compress/pass.h"
#include "lathe/io/yaml.h"

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
    if (find_pass(step.pass).value()->kind == PassKind::kPrune) return true;
  }
  return false;
}

bool Recipe::needs_calibration() const {
  for (const RecipeStep& step : steps) {
    if (find_pass(step.pass).value()->needs_calibration) return true;
  }
  return false;
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
  if (recipe.calibration) out["calibration"] = to_json(*recipe.calibration);
  for (const RecipeOverride& entry : recipe.overrides) {
    nlohmann::json j = {{"match", entry.match}};
    if (entry.format) j["format"] = *entry.format;
    if (entry.sparsity) j["sparsity"] = *entry.sparsity;
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

}  // namespace lathe
