#include "lathe/base/log.h"
#include "lathe/base/suggest.h"
#include "lathe/eval/data/task_spec.h"
#include "lathe/eval/tasks/list.h"

namespace lathe {
namespace {

Result<nlohmann::json> merge(const TaskKind& kind, const nlohmann::json& parameters) {
  if (!parameters.is_object() && !parameters.is_null()) {
    return bad_input("task '{}': parameters must be key: value pairs", kind.name);
  }
  nlohmann::json merged = kind.defaults;
  std::vector<std::string> keys;
  for (const auto& [key, value] : kind.defaults.items()) keys.push_back(key);
  for (const auto& [key, value] : parameters.items()) {
    if (!merged.contains(key)) {
      return bad_input("task '{}': unknown parameter '{}'", kind.name, key)
          .with_hint(suggest(key, keys));
    }
    const nlohmann::json& by_default = kind.defaults[key];
    const bool fits = by_default.is_number_integer() ? value.is_number_integer()
                      : by_default.is_number()       ? value.is_number()
                                                     : value.type() == by_default.type();
    if (!fits) {
      return bad_input("task '{}': parameter '{}' must be a {}, found {}", kind.name, key,
                       by_default.type_name(), value.dump());
    }
    if (value.is_number() && value.get<double>() < 0) {
      return bad_input("task '{}': parameter '{}' is {}, expected 0 or more", kind.name, key,
                       value.dump());
    }
    constexpr double kMost = 1e15;
    if (value.is_number() && value.get<double>() > kMost) {
      return bad_input("task '{}': parameter '{}' is {}, which is too large", kind.name, key,
                       value.dump());
    }
    merged[key] = value;
  }
  return merged;
}

Result<std::unique_ptr<Task>> create(const TaskKind& kind, const nlohmann::json& parameters) {
  LATHE_TRY(nlohmann::json merged, merge(kind, parameters));
  return kind.create(std::move(merged));
}

}  // namespace

Status Task::judge(std::span<Sample>, Ops&, nlohmann::json&) const { return {}; }

const std::vector<TaskKind>& task_kinds() {
  static const std::vector<TaskKind> kinds = [] {
    std::vector<TaskKind> all = {perplexity_task(), rosetta_task(), squad_v2_task(), gsm8k_task()};
    for (const BuiltinTask& builtin : builtin_tasks()) {
      auto spec = parse_task_spec(builtin.yaml, builtin.file, "");
      if (!spec.ok()) spdlog::critical("{}", spec.error().message);
      LATHE_CHECK(spec.ok());
      all.push_back(data_task_kind(std::move(*spec)));
    }
    return all;
  }();
  return kinds;
}

Result<std::unique_ptr<Task>> make_task(const std::string& name, const nlohmann::json& parameters) {
  if (name.ends_with(".yaml") || name.ends_with(".yml")) {
    LATHE_TRY(auto spec, load_task_spec(name));
    return create(data_task_kind(std::move(spec)), parameters);
  }
  std::vector<std::string> names;
  for (const TaskKind& kind : task_kinds()) {
    names.push_back(kind.name);
    if (kind.name == name) return create(kind, parameters);
  }
  return bad_input("unknown task '{}'", name).with_hint(suggest(name, names));
}

}  // namespace lathe
