// Where tests find files.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <string>

namespace lathe::test {

inline std::string source_file(const std::string& path) {
  return std::string(LATHE_SOURCE_DIR) + "/" + path;
}

// The folder of public data beside the checkout; empty when it is not there.
inline std::string shared_folder() {
  const char* folder = std::getenv("LATHE_SHARED");
  const std::string path = folder ? folder : source_file("../shared");
  return std::filesystem::exists(path + "/data") ? path : "";
}

// A fresh folder that goes away with the test.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "lathe-test-XXXXXX").string();
    path_ = mkdtemp(pattern.data());
  }
  ~TemporaryFolder() {
    std::error_code error;
    std::filesystem::remove_all(path_, error);
  }
  const std::string& path() const { return path_; }
  std::string file(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

}  // namespace lathe::test

#define LATHE_NEEDS_SHARED(variable)                           \
  const std::string variable = ::lathe::test::shared_folder(); \
  if (variable.empty()) GTEST_SKIP() << "no shared data beside the checkout (LATHE_SHARED)"
