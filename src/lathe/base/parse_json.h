// JSON from a text, with the place where it stops being JSON in the error.
#pragma once

#include <algorithm>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string_view>

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

// The whole number at `key`, or `otherwise` when there is none. Json::value() would convert a
// number such as 1e300 too, which has no defined result.
inline int64_t whole_or(const nlohmann::json& object, const char* key, int64_t otherwise) {
  const auto it = object.find(key);
  return it != object.end() && it->is_number_integer() ? it->get<int64_t>() : otherwise;
}

}  // namespace lathe
