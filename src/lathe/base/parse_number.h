// Whole-string number parsing without exceptions or locale.
#pragma once

#include <charconv>
#include <optional>
#include <string_view>

namespace lathe {

template <typename T>
std::optional<T> parse_number(std::string_view text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

}  // namespace lathe
