// What the tests of this folder share: a folder that goes away, golden files, hex, shared data.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>

#include "lathe/base/bytes.h"

namespace lathe {

class TempFolder {
 public:
  TempFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "lathe-io-XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  ~TempFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;

  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }
  size_t files() const {
    size_t count = 0;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(path_)) {
      count += entry.is_directory() ? 0 : 1;
    }
    return count;
  }

 private:
  std::string path_;
};

inline std::string slurp(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

inline void spill(const std::string& path, std::string_view text) {
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  std::ofstream(path, std::ios::binary) << text;
}

inline Bytes bytes_of(std::string_view text) {
  return Bytes::copy_of({reinterpret_cast<const uint8_t*>(text.data()), text.size()});
}

inline std::string hex_of(std::span<const uint8_t> bytes) {
  std::string text;
  for (const uint8_t b : bytes) {
    text += "0123456789abcdef"[b >> 4];
    text += "0123456789abcdef"[b & 15];
  }
  return text;
}

inline std::string golden(const std::string& name) {
  return std::string(LATHE_SOURCE_DIR) + "/tests/golden/io/" + name;
}

inline nlohmann::json golden_json(const std::string& name) {
  return nlohmann::json::parse(slurp(golden(name)));
}

// A file of the shared test data; empty when this machine does not have it.
inline std::string shared_data(const std::string& name) {
  const char* stated = std::getenv("LATHE_SHARED");
  const std::string root = stated ? stated : std::string(LATHE_SOURCE_DIR) + "/../shared";
  const std::string path = root + "/data/" + name;
  return std::filesystem::exists(path) ? path : std::string();
}

template <typename T>
void put(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof(T));
}

}  // namespace lathe

// The result is an error of this code whose message (or hint) holds this text.
#define EXPECT_ERROR(result, expected_code, text)                                        \
  do {                                                                                   \
    const auto& result_ = (result);                                                      \
    ASSERT_FALSE(result_.ok());                                                          \
    EXPECT_EQ(int(result_.error().code), int(expected_code)) << result_.error().message; \
    const std::string all_ = result_.error().message + " | " + result_.error().hint;     \
    EXPECT_NE(all_.find(text), std::string::npos) << all_;                               \
  } while (false)

#define ASSERT_OK(result)                                 \
  do {                                                    \
    const auto& result_ = (result);                       \
    ASSERT_TRUE(result_.ok()) << result_.error().message; \
  } while (false)
