// Typed access to the fields of a JSON object, with an error that names the field.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "lathe/base/result.h"

namespace lathe::text {

using Json = nlohmann::json;

inline bool is_absent(const Json& object, const char* key) {
  const auto it = object.find(key);
  return it == object.end() || it->is_null();
}

inline Result<std::string> string_field(const Json& object, const char* key) {
  const auto it = object.find(key);
  if (it == object.end() || !it->is_string()) return bad_input("'{}' is not a string", key);
  return it->get<std::string>();
}
inline Result<std::string> string_field(const Json& object, const char* key, std::string fallback) {
  if (is_absent(object, key)) return fallback;
  return string_field(object, key);
}

inline Result<bool> bool_field(const Json& object, const char* key, bool fallback) {
  if (is_absent(object, key)) return fallback;
  if (!object[key].is_boolean()) return bad_input("'{}' is not true or false", key);
  return object[key].get<bool>();
}

inline Result<int64_t> int_field(const Json& object, const char* key, int64_t fallback) {
  if (is_absent(object, key)) return fallback;
  if (!object[key].is_number_integer()) return bad_input("'{}' is not an integer", key);
  return object[key].get<int64_t>();
}

// The array at `key`; an error when it is missing.
inline Result<const Json*> array_field(const Json& object, const char* key) {
  const auto it = object.find(key);
  if (it == object.end() || !it->is_array()) return bad_input("'{}' is not an array", key);
  return &*it;
}

inline Result<std::string> type_of(const Json& component) {
  if (!component.is_object()) return bad_input("not an object");
  return string_field(component, "type");
}

// A value of any kind for a message; not Json::dump(), which recurses into hostile nesting.
inline std::string shown(const Json& value) {
  return value.is_number() ? value.dump() : std::string(value.type_name());
}

// Sequences inside sequences; deeper files are refused.
inline constexpr int kMaxDepth = 16;

}  // namespace lathe::text
