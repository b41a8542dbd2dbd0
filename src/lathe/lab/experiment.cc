#include "lathe/lab/experiment.h"

#include <algorithm>
#include <filesystem>

#include "lathe/base/mapped_file.h"
#include "lathe/base/suggest.h"
#include "lathe/eval/task.h"
#include "lathe/io/yaml.h"
#include "lathe/lab/experiment_text.h"
#include "lathe/profile/probe.h"

namespace lathe {
namespace {

Status check_keys(const nlohmann::json& object, const std::vector<std::string>& known,
                  const std::string& what) {
  for (const auto& [key, value] : object.items()) {
    if (std::find(known.begin(), known.end(), key) == known.end()) {
      return bad_input("{}: unknown key '{}'", what, key).with_hint(suggest(key, known));
    }
  }
  return {};
}

// Names become folders.
Status check_name(const std::string& name, const char* what) {
  const bool fits = !name.empty() && name.size() <= 100 && name[0] != '.' &&
                    name.find_first_not_of(
                        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                        "0123456789._+-") == std::string::npos;
  if (fits) return {};
  return bad_input("{} '{}': use letters, digits, '.', '_', '+' and '-'", what, name);
}

// "a", {a: {…}} or {a: null}.
Result<NamedParameters> named(const nlohmann::json& j, const char* what) {
  if (j.is_string()) return NamedParameters{j.get<std::string>()};
  if (j.is_object() && j.size() == 1) {
    const auto& value = j.begin().value();
    if (value.is_object()) return NamedParameters{j.begin().key(), value};
    if (value.is_null()) return NamedParameters{j.begin().key()};
  }
  return bad_input("a {} is a name, or a name with its parameters; found {}", what, j.dump());
}

Result<std::vector<nlohmann::json>> list_of(const nlohmann::json& j, const char* key,
                                            bool required) {
  std::vector<nlohmann::json> out;
  const auto it = j.find(key);
  if (it == j.end() || it->is_null()) {
    if (required) return bad_input("'{}' is missing", key);
    return out;
  }
  if (!it->is_array()) return bad_input("'{}' must be a list", key);
  for (const auto& item : *it) out.push_back(item);
  if (required && out.empty()) return bad_input("'{}' is empty", key);
  return out;
}

Result<NamedParameters> checked_task(NamedParameters task) {
  LATHE_TRY(const auto made, make_task(task.name, task.parameters));
  task.parameters = made->parameters();
  return task;
}

Result<NamedParameters> checked_probe(NamedParameters probe) {
  LATHE_TRY(probe.parameters, probe_parameters(probe.name, probe.parameters));
  return probe;
}

using Check = Result<NamedParameters> (*)(NamedParameters);

Result<std::vector<NamedParameters>> read_named(const nlohmann::json& j, const char* key,
                                                const char* what, Check check) {
  LATHE_TRY(const auto items, list_of(j, key, false));
  std::vector<NamedParameters> out;
  for (const auto& item : items) {
    LATHE_TRY(NamedParameters entry, named(item, what));
    LATHE_TRY(entry, check(std::move(entry)));
    for (const NamedParameters& other : out) {
      if (other.name == entry.name) return bad_input("{} '{}' is named twice", what, entry.name);
    }
    out.push_back(std::move(entry));
  }
  return out;
}

// A variant's own `tasks` or `probes`. A list stands instead of the experiment's; a map changes it:
// parameters are set, `false` leaves one out, a new name adds one.
Result<std::vector<NamedParameters>> overridden(const std::vector<NamedParameters>& general,
                                                const nlohmann::json& variant, const char* key,
                                                const char* what, Check check) {
  if (!variant.contains(key)) return general;
  const auto& own = variant[key];
  if (own.is_array()) return read_named(variant, key, what, check);
  if (!own.is_object()) return bad_input("'{}' must be a list, or a map of what differs", key);
  std::vector<NamedParameters> out = general;
  for (const auto& [name, change] : own.items()) {
    const auto it = std::find_if(out.begin(), out.end(),
                                 [&, &wanted = name](const auto& e) { return e.name == wanted; });
    if (change.is_boolean() && !change.get<bool>()) {
      if (it == out.end()) {
        std::vector<std::string> known;
        for (const auto& e : general) known.push_back(e.name);
        return bad_input("{} '{}' is not one of the experiment's", what, name)
            .with_hint(suggest(name, known));
      }
      out.erase(it);
      continue;
    }
    NamedParameters entry = it == out.end() ? NamedParameters{name} : *it;
    if (change.is_object()) {
      for (const auto& [parameter, value] : change.items()) entry.parameters[parameter] = value;
    } else if (!change.is_null() && !(change.is_boolean() && change.get<bool>())) {
      return bad_input("{} '{}': give its parameters, or false to leave it out", what, name);
    }
    LATHE_TRY(entry, check(std::move(entry)));
    if (it == out.end()) {
      out.push_back(std::move(entry));
    } else {
      *it = std::move(entry);
    }
  }
  return out;
}

// `order`: the same document with the keys in the order of the file, which the table keeps.
Status read_variants(const nlohmann::json& j, const nlohmann::ordered_json& order, Experiment& e) {
  const auto it = j.find("variants");
  if (it == j.end() || !it->is_object() || it->empty()) {
    return bad_input("'variants' must name at least one variant");
  }
  LATHE_TRY(e.tasks, read_named(j, "tasks", "task", checked_task));
  LATHE_TRY(e.probes, read_named(j, "probes", "probe", checked_probe));
  const auto &tasks = e.tasks, &probes = e.probes;
  std::vector<std::string> names;
  for (const auto& [name, value] : order["variants"].items()) names.push_back(name);
  for (const std::string& name : names) {
    nlohmann::json value = it->at(name);
    const std::string where = fmt::format("variant '{}'", name);
    LATHE_OK(check_name(name, "variant"));
    if (value.is_null()) value = nlohmann::json::object();
    VariantSpec variant{name, {}, {}, {}};
    if (value.is_object()) {
      LATHE_TRY_IN(variant.tasks, overridden(tasks, value, "tasks", "task", checked_task), where);
      LATHE_TRY_IN(variant.probes, overridden(probes, value, "probes", "probe", checked_probe),
                   where);
      value.erase("tasks");
      value.erase("probes");
    }
    LATHE_TRY_IN(variant.recipe, recipe_from_json(value), where);
    if (variant.tasks.empty() && variant.probes.empty()) {
      return bad_input("{}neither 'tasks' nor 'probes' are given",
                       tasks.empty() && probes.empty() ? "" : where + ": ");
    }
    e.variants.push_back(std::move(variant));
  }
  if (!j.contains("baseline")) {
    e.baseline = names.front();
  } else if (j["baseline"].is_string()) {
    e.baseline = j["baseline"].get<std::string>();
  } else {
    return bad_input("'baseline' must be the name of a variant");
  }
  if (std::find(names.begin(), names.end(), e.baseline) == names.end()) {
    return bad_input("baseline '{}' is not one of the variants", e.baseline)
        .with_hint(suggest(e.baseline, names));
  }
  return {};
}

// For every task that can take an encoder and names none of its own.
Status read_encoder(const nlohmann::json& j, Experiment& e) {
  if (!j.contains("encoder")) return {};
  if (!j["encoder"].is_string()) return bad_input("'encoder' must be a name or a path");
  bool taken = false;
  const auto give = [&](std::vector<NamedParameters>& tasks) {
    for (NamedParameters& task : tasks) {
      if (!task.parameters.contains("encoder")) continue;
      taken = true;
      auto& encoder = task.parameters["encoder"];
      if (encoder.is_string() && encoder.get_ref<const std::string&>().empty()) {
        encoder = j["encoder"];
      }
    }
  };
  give(e.tasks);
  for (VariantSpec& variant : e.variants) give(variant.tasks);
  if (taken) return {};
  return bad_input("'encoder' is given, but no task generates text");
}

Status read_cost(const nlohmann::json& j, Experiment& e) {
  if (!j.contains("cost")) return {};
  const auto& cost = j["cost"];
  if (!cost.is_object()) return bad_input("'cost' must be {{usd_per_hour: N}}");
  LATHE_OK(check_keys(cost, {"usd_per_hour", "budget_usd"}, "cost"));
  const auto amount = [&](const char* key, std::optional<double>& out) -> Status {
    if (!cost.contains(key)) return {};
    if (!cost[key].is_number() || cost[key].get<double>() < 0) {
      return bad_input("cost: '{}' must be a number of 0 or more", key);
    }
    out = cost[key].get<double>();
    return {};
  };
  LATHE_OK(amount("usd_per_hour", e.usd_per_hour));
  LATHE_OK(amount("budget_usd", e.budget_usd));
  if (!e.usd_per_hour) return bad_input("'cost' needs 'usd_per_hour', a number of 0 or more");
  return {};
}

// {mlflow: URL, tensorboard: FOLDER, …}; targets are checked, nothing is asked of them yet.
Status read_track(const nlohmann::json& j, Experiment& e) {
  if (!j.contains("track") || j["track"].is_null()) return {};
  if (!j["track"].is_object()) {
    return bad_input("'track' must name trackers: {{mlflow: \"http://127.0.0.1:5000\"}}");
  }
  for (const auto& [kind, target] : j["track"].items()) {
    if (!target.is_string()) return bad_input("track: {}: must be a text", kind);
    e.track.push_back({kind, target.get<std::string>()});
    LATHE_TRY_IN(const auto tracker, open_tracker(kind, e.track.back().target), "track");
  }
  return {};
}

Result<int64_t> whole_number(const nlohmann::json& j, const char* key, int64_t otherwise) {
  if (!j.contains(key)) return otherwise;
  const bool fits =
      j[key].is_number_integer() && j[key].get<double>() >= 0 && j[key].get<double>() < 0x1p63;
  if (!fits) return bad_input("'{}' must be a whole number, 0 or more", key);
  return j[key].get<int64_t>();
}

Result<Experiment> read(const nlohmann::ordered_json& order) {
  const nlohmann::json j = order;
  if (!j.is_object())
    return bad_input("an experiment is a list of keys: name, models, variants, tasks …");
  LATHE_OK(check_keys(j,
                      {"name", "models", "baseline", "variants", "tasks", "probes", "encoder",
                       "cost", "track", "seed", "context", "kv"},
                      "experiment"));
  Experiment e;
  if (!j.contains("name") || !j["name"].is_string()) return bad_input("'name' is missing");
  e.name = j["name"].get<std::string>();
  LATHE_OK(check_name(e.name, "experiment"));
  LATHE_TRY(const auto models, list_of(j, "models", true));
  for (const auto& model : models) {
    if (!model.is_string()) return bad_input("'models' must hold names or paths");
    e.models.push_back(model.get<std::string>());
  }
  LATHE_OK(read_variants(j, order, e));
  LATHE_OK(read_encoder(j, e));
  LATHE_OK(read_track(j, e));
  LATHE_OK(read_cost(j, e));
  LATHE_TRY(const int64_t seed, whole_number(j, "seed", 0));
  e.seed = static_cast<uint64_t>(seed);
  LATHE_TRY(e.context, whole_number(j, "context", 0));
  if (j.contains("kv")) {
    if (!j["kv"].is_string()) return bad_input("'kv' must be a name: {}", kv_type_names());
    LATHE_TRY(e.kv, parse_kv_type(j["kv"].get<std::string>()));
  }
  return e;
}

}  // namespace

Result<Experiment> parse_experiment(const std::string& text, const std::string& where) {
  LATHE_TRY(nlohmann::ordered_json json, yaml_to_ordered_json(text, where));
  std::string whole = text;
  const std::string folder = std::filesystem::path(where).parent_path().string();
  LATHE_OK_IN(merge_includes(json, folder, whole), where);
  LATHE_OK_IN(expand_grids(json), where);
  LATHE_TRY_IN(Experiment experiment, read(json), where);
  experiment.text = whole;
  return experiment;
}

Result<Experiment> load_experiment(const std::string& path) {
  LATHE_TRY(const std::string text, read_text(path, size_t{1} << 20));
  return parse_experiment(text, path);
}

}  // namespace lathe
