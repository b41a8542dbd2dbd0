// Golden files of the metrics, and the folder of public data that some tests also use.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

namespace lathe {

inline std::string read_text(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file.good()) << path;
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

inline nlohmann::json read_golden(const std::string& name) {
  return nlohmann::json::parse(
      read_text(std::filesystem::path(LATHE_SOURCE_DIR) / "tests/golden/eval" / name));
}

// The path of a file of the public test data, or nothing where it is not at hand.
inline std::optional<std::filesystem::path> shared_data(const std::string& name) {
  const char* folder = std::getenv("LATHE_SHARED");
  const std::filesystem::path root = folder != nullptr
                                         ? std::filesystem::path(folder)
                                         : std::filesystem::path(LATHE_SOURCE_DIR) / "../shared";
  const auto path = root / "data" / name;
  if (!std::filesystem::exists(path)) return std::nullopt;
  return path;
}

// Lines without their ends; the text ends with a newline.
inline std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

}  // namespace lathe

#define LATHE_SHARED_OR_SKIP(file, name)                                                    \
  const auto file##_found = ::lathe::shared_data(name);                                     \
  if (!file##_found) GTEST_SKIP() << "no " << (name) << ": set LATHE_SHARED to its folder"; \
  const std::filesystem::path& file = *file##_found
