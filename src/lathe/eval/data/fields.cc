#include "lathe/eval/data/fields.h"

#include <algorithm>

#include "lathe/base/suggest.h"

namespace lathe {

Fields::Fields(const nlohmann::ordered_json& map, std::string what)
    : map_(map), what_(std::move(what)) {}

const nlohmann::ordered_json* Fields::find(const std::string& key) {
  known_.push_back(key);
  if (!map_.is_object()) return nullptr;
  const auto it = map_.find(key);
  return it == map_.end() ? nullptr : &*it;
}

bool Fields::has(const std::string& key) { return find(key) != nullptr; }

const nlohmann::ordered_json& Fields::at(const std::string& key) {
  const auto* value = find(key);
  LATHE_CHECK(value);
  return *value;
}

Result<std::string> Fields::text(const std::string& key) {
  if (!find(key)) return bad_input("{}: '{}' is missing", what_, key);
  return text(key, "");
}

Result<std::string> Fields::text(const std::string& key, const std::string& fallback) {
  const auto* value = find(key);
  if (!value) return fallback;
  if (!value->is_string())
    return bad_input("{}: '{}' must be text, found {}", what_, key, value->dump());
  return value->get<std::string>();
}

Result<int64_t> Fields::integer(const std::string& key, int64_t fallback) {
  const auto* value = find(key);
  if (!value) return fallback;
  if (!value->is_number_integer()) {
    return bad_input("{}: '{}' must be a whole number, found {}", what_, key, value->dump());
  }
  return value->get<int64_t>();
}

Result<bool> Fields::boolean(const std::string& key, bool fallback) {
  const auto* value = find(key);
  if (!value) return fallback;
  if (!value->is_boolean()) {
    return bad_input("{}: '{}' must be true or false, found {}", what_, key, value->dump());
  }
  return value->get<bool>();
}

Result<std::vector<std::string>> Fields::texts(const std::string& key) {
  const auto* value = find(key);
  std::vector<std::string> out;
  if (!value) return out;
  const auto list = value->is_array() ? *value : nlohmann::ordered_json::array({*value});
  for (const auto& item : list) {
    if (!item.is_string()) {
      return bad_input("{}: '{}' must be text or a list of texts, found {}", what_, key,
                       item.dump());
    }
    out.push_back(item.get<std::string>());
  }
  return out;
}

Status Fields::finish() const {
  if (map_.is_null()) return {};
  if (!map_.is_object())
    return bad_input("{}: must be 'key: value' pairs, found {}", what_, map_.dump());
  for (const auto& [key, value] : map_.items()) {
    if (std::find(known_.begin(), known_.end(), key) == known_.end()) {
      std::vector<std::string> known = known_;
      std::sort(known.begin(), known.end());
      known.erase(std::unique(known.begin(), known.end()), known.end());
      return bad_input("{}: unknown key '{}'", what_, key).with_hint(suggest(key, known));
    }
  }
  return {};
}

}  // namespace lathe
