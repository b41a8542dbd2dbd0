#include "lathe/base/suggest.h"
#include "lathe/eval/tasks/list.h"

namespace lathe {

const std::vector<TaskKind>& task_kinds() {
  static const std::vector<TaskKind> kinds = {perplexity_task(), squad_v2_task(), gsm8k_task()};
  return kinds;
}

Result<std::unique_ptr<Task>> make_task(const std::string& name, const nlohmann::json& parameters) {
  std::vector<std::string> names;
  for (const TaskKind& kind : task_kinds()) {
    names.push_back(kind.name);
    if (kind.name != name) continue;
    if (!parameters.is_object() && !parameters.is_null()) {
      return bad_input("task '{}': parameters must be key: value pairs", name);
    }
    nlohmann::json merged = kind.defaults;
    std::vector<std::string> keys;
    for (const auto& [key, value] : kind.defaults.items()) keys.push_back(key);
    for (const auto& [key, value] : parameters.items()) {
      if (!merged.contains(key)) {
        return bad_input("task '{}': unknown parameter '{}'", name, key)
            .with_hint(suggest(key, keys));
      }
      const nlohmann::json& by_default = kind.defaults[key];
      const bool fits =
          by_default.is_number() ? value.is_number() : value.type() == by_default.type();
      if (!fits) {
        return bad_input("task '{}': parameter '{}' must be a {}, found {}", name, key,
                         by_default.type_name(), value.dump());
      }
      if (value.is_number() && value.get<double>() < 0) {
        return bad_input("task '{}': parameter '{}' is {}, expected 0 or more", name, key,
                         value.dump());
      }
      merged[key] = value;
    }
    return kind.create(std::move(merged));
  }
  return bad_input("unknown task '{}'", name).with_hint(suggest(name, names));
}

}  // namespace lathe
