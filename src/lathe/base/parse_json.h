// JSON from a text, with the place where it stops being JSON in the error.
#pragma once

#include <algorithm>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <type_traits>

#include "lathe/base/result.h"

namespace lathe {

template <typename Json = nlohmann::json>
Result<Json> parse_json(std::string_view text) {
  size_t at = text.size();
  try {
    return Json::parse(text);
  } catch (const typename Json::parse_error& error) {
    at = std::min(error.byte > 0 ? error.byte - 1 : 0, text.size());
  } catch (const typename Json::exception&) {
    return bad_input("not valid JSON (a number is out of range)");
  }
  const std::string_view before = text.substr(0, at);
  const auto line = 1 + std::count(before.begin(), before.end(), '\n');
  const size_t newline = before.rfind('\n');
  const size_t column = newline == std::string_view::npos ? at + 1 : at - newline;
  if (at == text.size()) return bad_input("not valid JSON (it ends early, in line {})", line);
  return bad_input("not valid JSON (line {}, column {})", line, column);
}

template <typename T>
concept Arithmetic = std::is_arithmetic_v<T>;

// The member at `key` of `object`, or `otherwise` when there is none of the same kind.
// Json::value() would throw at a member of another kind, and convert a number such as 1e300 to a
// whole one, which has no defined result.
template <typename Json, Arithmetic T>
T member_or(const Json& object, std::string_view key, T otherwise) {
  const auto it = object.find(key);
  if (it == object.end()) return otherwise;
  const bool same = std::is_same_v<T, bool> ? it->is_boolean()
                    : std::is_integral_v<T> ? it->is_number_integer()
                                            : it->is_number();
  return same ? it->template get<T>() : otherwise;
}

template <typename Json>
std::string member_or(const Json& object, std::string_view key, std::string_view otherwise) {
  const auto it = object.find(key);
  if (it == object.end() || !it->is_string()) return std::string(otherwise);
  return it->template get<std::string>();
}

// A null takes a member of any kind.
template <typename Json>
Json member_or(const Json& object, std::string_view key, const Json& otherwise) {
  const auto it = object.find(key);
  const bool same = it != object.end() && (otherwise.is_null() || it->type() == otherwise.type());
  return same ? *it : otherwise;
}

}  // namespace lathe
