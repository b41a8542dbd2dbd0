// The two forms in which people write a recipe.
#include <algorithm>

#include "lathe/base/suggest.h"
#include "lathe/compress/mixture.h"
#include "lathe/compress/pass.h"
#include "lathe/compress/passes/sparse.h"
#include "lathe/compress/recipe.h"

namespace lathe {
namespace {

using Json = nlohmann::json;

Status check_keys(const Json& object, const std::vector<std::string>& known, const char* what) {
  for (const auto& [key, value] : object.items()) {
    if (std::find(known.begin(), known.end(), key) == known.end()) {
      return bad_input("{}: unknown key '{}'", what, key).with_hint(suggest(key, known));
    }
  }
  return {};
}

bool given(const Json& json, const char* key) { return json.contains(key) && !json[key].is_null(); }

Result<std::string> text_at(const Json& json, const char* key) {
  if (!json[key].is_string()) return bad_input("{}: must be a name, not {}", key, json[key].dump());
  return json[key].get<std::string>();
}

bool removes(PassKind kind) { return kind == PassKind::kPrune || kind == PassKind::kReduce; }
bool prepares(PassKind kind) { return kind == PassKind::kTransform || kind == PassKind::kRotate; }

// A pass by name, of a kind that belongs where it stands.
Result<const Pass*> pass_of_kind(const std::string& name, bool (*belongs)(PassKind),
                                 const char* key) {
  LATHE_TRY_IN(const Pass* pass, find_pass(name), key);
  if (belongs(pass->kind)) return pass;
  return bad_input("{}: '{}' is a {} pass", key, name,
                   removes(pass->kind)                 ? "pruning"
                   : pass->kind == PassKind::kQuantize ? "quantizing"
                   : pass->kind == PassKind::kJoint    ? "pruning and quantizing"
                                                       : "transforming")
      .with_hint(removes(pass->kind)              ? "give it under 'prune'"
                 : pass->kind == PassKind::kJoint ? "give prune: sparsegpt and order: joint"
                                                  : "give it as 'method'");
}

Result<RecipeStep> make_step(const Pass& pass, const Json& parameters) {
  LATHE_TRY(Json checked, check_parameters(pass, parameters));
  return RecipeStep{pass.name, std::move(checked)};
}

Result<std::vector<RecipeOverride>> read_overrides(const Json& json) {
  std::vector<RecipeOverride> out;
  if (!given(json, "overrides")) return out;
  if (!json["overrides"].is_array()) {
    return bad_input("overrides: must be a list, not {}", json["overrides"].dump());
  }
  for (const Json& entry : json["overrides"]) {
    const std::string where = fmt::format("overrides[{}]", out.size());
    if (!entry.is_object()) return bad_input("{}: must be keys with values", where);
    LATHE_OK(check_keys(entry, {"match", "format", "sparsity", "pattern"}, where.c_str()));
    if (!entry.contains("match") || !entry["match"].is_string()) {
      return bad_input("{}: 'match' is missing", where)
          .with_hint("name the matrices it is for, such as \"model.layers.0.*\"");
    }
    RecipeOverride made{entry["match"].get<std::string>(), {}, {}, {}};
    LATHE_OK_IN(check_pattern(made.match), where + ": match");
    if (given(entry, "format")) {
      LATHE_TRY_IN(made.format, storage_from_json(entry["format"]), where + ": format");
    }
    if (given(entry, "sparsity")) {
      LATHE_TRY_IN(made.sparsity, sparsity_from_json(entry["sparsity"]), where + ": sparsity");
    }
    if (given(entry, "pattern")) {
      LATHE_TRY_IN(const SparsePattern pattern, parse_pattern(entry["pattern"]),
                   where + ": pattern");
      made.pattern = entry["pattern"].get<std::string>();
      if (!made.sparsity) made.sparsity = sparsity_of(pattern);
      LATHE_OK_IN(check_pattern(pattern, *made.sparsity), where);
    }
    if (!made.format && !made.sparsity) {
      return bad_input("{}: neither 'format' nor 'sparsity' is given", where);
    }
    out.push_back(std::move(made));
  }
  return out;
}

// {method: magnitude, sparsity: 0.5, …} or "magnitude:0.5".
Result<RecipeStep> read_prune(const Json& prune) {
  Json parameters = Json::object();
  std::string name;
  if (prune.is_string()) {
    const auto text = prune.get<std::string>();
    const size_t colon = text.find(':');
    name = text.substr(0, colon);
    if (colon != std::string::npos) {
      // As JSON, so that what is no number is refused with the rest.
      const Json number = Json::parse(text.substr(colon + 1), nullptr, false);
      parameters["sparsity"] = number.is_discarded() ? Json(text.substr(colon + 1)) : number;
    }
  } else if (prune.is_object()) {
    if (!prune.contains("method")) return bad_input("prune: 'method' is missing");
    if (!prune["method"].is_string()) return bad_input("prune: 'method' must be a name");
    name = prune["method"].get<std::string>();
    parameters = prune;
    parameters.erase("method");
  } else {
    return bad_input("prune: must be {{method: …, sparsity: …}} or METHOD:SPARSITY, not {}",
                     prune.dump());
  }
  LATHE_TRY(const Pass* pass, pass_of_kind(name, removes, "prune"));
  LATHE_TRY_IN(RecipeStep step, make_step(*pass, parameters), "prune");
  return step;
}

// Takes the transforming passes off "awq+gptq"; what is left of the method is a quantizing one.
// After awq alone that is clip, as in its paper; after others alone it is rtn.
Result<std::vector<RecipeStep>> read_transforms(std::string& method) {
  std::vector<RecipeStep> steps;
  for (;;) {
    const size_t plus = method.find('+');
    LATHE_TRY_IN(const Pass* pass, find_pass(method.substr(0, plus)), "method");
    if (!prepares(pass->kind)) {
      if (plus == std::string::npos) return steps;
      return bad_input("method: '{}' cannot stand before another pass", pass->name)
          .with_hint("only transforming passes can, as in awq+gptq");
    }
    LATHE_TRY(RecipeStep step, make_step(*pass, Json::object()));
    steps.push_back(std::move(step));
    const char* alone = pass->name == "awq" ? "clip" : "rtn";
    method = plus == std::string::npos ? alone : method.substr(plus + 1);
  }
}

// A transforming pass sees the model before weights are pruned or rounded, a reshaping one before
// anything else.
Status check_order(const Recipe& recipe) {
  bool changed = false, transformed = false;
  for (const RecipeStep& step : recipe.steps) {
    const PassKind kind = find_pass(step.pass).value()->kind;
    const bool transforms = kind == PassKind::kTransform;
    if ((transforms || reshapes(kind)) && changed) {
      return bad_input("passes: '{}' comes after a pass that prunes or rounds", step.pass)
          .with_hint("put it first");
    }
    if (reshapes(kind) && transformed) {
      return bad_input(
                 "passes: '{}' changes the whole model, and comes after a pass that works "
                 "block by block",
                 step.pass)
          .with_hint("put it first");
    }
    transformed |= transforms;
    changed |= !transforms && !reshapes(kind);
  }
  return {};
}

// SparseGPT with GPTQ's rounding in its loop, in place of the two.
Result<RecipeStep> joint_step(const RecipeStep& prune, const RecipeStep& quantize,
                              bool method_given) {
  if (prune.pass != "sparsegpt" || (method_given && quantize.pass != "gptq")) {
    return bad_input("order: joint is for 'sparsegpt' with 'gptq', not '{}' with '{}'", prune.pass,
                     quantize.pass)
        .with_hint("use order: prune-first");
  }
  Json parameters = prune.parameters;
  parameters["format"] = quantize.parameters["format"];
  LATHE_TRY_IN(RecipeStep step, make_step(*find_pass("joint").value(), parameters), "order: joint");
  return step;
}

Status read_short(const Json& json, Recipe& recipe) {
  LATHE_OK(check_keys(json,
                      {"format", "method", "prune", "order", "embeddings", "head", "overrides",
                       "calibration", "passes"},
                      "recipe"));
  std::string method = "rtn";
  if (given(json, "method")) {
    LATHE_TRY(method, text_at(json, "method"));
  }
  LATHE_TRY(recipe.steps, read_transforms(method));
  LATHE_TRY(const Pass* quantizer,
            pass_of_kind(
                method, [](PassKind kind) { return kind == PassKind::kQuantize; }, "method"));
  const bool overridden =
      std::any_of(recipe.overrides.begin(), recipe.overrides.end(),
                  [](const RecipeOverride& entry) { return entry.format.has_value(); });
  Json format = given(json, "format") ? json["format"] : Json("keep");
  if (format.is_string() && is_mixture(format.get<std::string>())) {
    recipe.mixture = format.get<std::string>();
    format = mixture_base(recipe.mixture);
  }
  LATHE_TRY_IN(const std::string spec, storage_from_json(format), "format");
  std::vector<RecipeStep> quantize, prune;
  if (spec != "keep" || overridden) {
    LATHE_TRY(RecipeStep step, make_step(*quantizer, {{"format", spec}}));
    quantize.push_back(std::move(step));
  } else if (given(json, "method")) {
    return bad_input("method: '{}' needs a 'format'", method);
  }
  if (given(json, "prune")) {
    LATHE_TRY(RecipeStep step, read_prune(json["prune"]));
    if (reshapes(find_pass(step.pass).value()->kind)) {
      recipe.steps.insert(recipe.steps.begin(), std::move(step));
    } else {
      prune.push_back(std::move(step));
    }
  }
  bool prune_first = true;
  if (given(json, "order")) {
    const Json& order = json["order"];
    if (order != "prune-first" && order != "quantize-first" && order != "joint") {
      return bad_input("order: must be prune-first, quantize-first or joint, not {}", order.dump());
    }
    if (prune.empty() || quantize.empty()) {
      return bad_input("order: means nothing without both 'prune' and 'format'");
    }
    if (order == "joint") {
      LATHE_TRY(RecipeStep step, joint_step(prune[0], quantize[0], given(json, "method")));
      recipe.steps.push_back(std::move(step));
      return {};
    }
    prune_first = order == "prune-first";
  }
  if (!prune_first) std::swap(prune, quantize);
  for (RecipeStep& step : prune) recipe.steps.push_back(std::move(step));
  for (RecipeStep& step : quantize) recipe.steps.push_back(std::move(step));
  return {};
}

Status read_long(const Json& json, Recipe& recipe) {
  for (const char* key : {"format", "method", "prune", "order"}) {
    if (json.contains(key)) {
      return bad_input("recipe: '{}' and 'passes' exclude each other", key)
          .with_hint("put it into the list of passes");
    }
  }
  LATHE_OK(check_keys(json, {"passes", "embeddings", "head", "overrides", "calibration", "mixture"},
                      "recipe"));
  if (given(json, "mixture")) {
    LATHE_TRY(recipe.mixture, text_at(json, "mixture"));
    if (!is_mixture(recipe.mixture)) {
      return bad_input("mixture: '{}' is not known", recipe.mixture)
          .with_hint("mixtures are q4_k_m and q3_k_m");
    }
  }
  if (!json["passes"].is_array()) {
    return bad_input("passes: must be a list, not {}", json["passes"].dump());
  }
  for (const Json& entry : json["passes"]) {
    const std::string where = fmt::format("passes[{}]", recipe.steps.size());
    if (!entry.is_object() || entry.size() != 1) {
      return bad_input(
          "{}: must be one pass with its parameters, such as {{magnitude: {{sparsity: "
          "0.5}}}}; found {}",
          where, entry.dump());
    }
    LATHE_TRY_IN(const Pass* pass, find_pass(entry.begin().key()), where);
    LATHE_TRY_IN(RecipeStep step,
                 make_step(*pass, entry.begin()->is_null() ? Json::object() : *entry.begin()),
                 where);
    recipe.steps.push_back(std::move(step));
  }
  return {};
}

// An override must have a pass to act on.
Status check_overrides(const Recipe& recipe) {
  const auto has = [&](bool (*is)(PassKind)) {
    return std::any_of(recipe.steps.begin(), recipe.steps.end(), [&](const RecipeStep& step) {
      return is(find_pass(step.pass).value()->kind);
    });
  };
  if (!recipe.mixture.empty() && !has(quantizes)) {
    return bad_input("mixture: '{}', but no pass quantizes", recipe.mixture)
        .with_hint("add {rtn: {format: keep}} to the passes");
  }
  for (size_t i = 0; i < recipe.overrides.size(); ++i) {
    if (recipe.overrides[i].sparsity && !has(prunes)) {
      return bad_input("overrides[{}]: 'sparsity', but no pass prunes", i);
    }
    if (recipe.overrides[i].format && !has(quantizes)) {
      return bad_input("overrides[{}]: 'format', but no pass quantizes", i)
          .with_hint("add {rtn: {format: keep}} to the passes");
    }
  }
  return {};
}

}  // namespace

Result<double> sparsity_from_json(const Json& value) {
  if (value.is_number()) {
    const double sparsity = value.get<double>();
    if (sparsity >= 0 && sparsity <= kMostSparsity) return sparsity;
    return bad_input("must be a number from 0 to {}, not {}", kMostSparsity, sparsity);
  }
  return bad_input("must be a number from 0 to {}, not {}", kMostSparsity, value.dump());
}

Result<std::string> storage_from_json(const Json& value) {
  if (!value.is_string()) {
    return bad_input("must be a format such as int4:g128, or keep; found {}", value.dump());
  }
  const auto spec = value.get<std::string>();
  if (spec == "keep") return spec;
  LATHE_TRY(const FormatPtr format, parse_format(spec));
  if (format->can_encode()) return format->spec();
  return unsupported("format {} can be read but not written", format->spec());
}

Result<Recipe> recipe_from_json(const Json& json) {
  if (!json.is_object()) return bad_input("a recipe must be keys with values, not {}", json.dump());
  Recipe recipe;
  LATHE_TRY(recipe.overrides, read_overrides(json));
  for (const auto& [key, target] :
       {std::pair{"embeddings", &recipe.embeddings}, std::pair{"head", &recipe.head}}) {
    if (!given(json, key)) continue;
    LATHE_TRY_IN(*target, storage_from_json(json[key]), key);
  }
  LATHE_OK(json.contains("passes") ? read_long(json, recipe) : read_short(json, recipe));
  LATHE_OK(check_order(recipe));
  LATHE_OK(check_overrides(recipe));
  if (given(json, "calibration")) {
    LATHE_TRY_IN(recipe.calibration, calibration_from_json(json["calibration"]), "calibration");
  }
  return recipe;
}

}  // namespace lathe
