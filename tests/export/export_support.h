// What the tests of exports share.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "lathe/base/threads.h"
#include "lathe/export/export.h"
#include "lathe/model/checkpoint.h"
#include "support/files.h"

namespace lathe::test {

inline std::unique_ptr<const Checkpoint> open(const std::string& path) {
  auto checkpoint = open_checkpoint(path);
  EXPECT_TRUE(checkpoint.ok()) << checkpoint.error().message;
  return checkpoint.ok() ? std::move(checkpoint).value() : nullptr;
}

inline Result<ExportReport> write(const Checkpoint& source, const std::string& to,
                                  const std::string& out, const ExportOptions& options = {}) {
  ThreadPool pool(1);
  return find_export_target(to).value()->write(source, out, options, pool);
}

inline std::string tiny() { return source_file("models/tiny"); }

// A golden model of tests/golden/families: its GGUF file, or its directory.
inline std::string family(const std::string& name) {
  const std::string folder = source_file("tests/golden/families/" + name);
  return std::filesystem::exists(folder + "/model.gguf") ? folder + "/model.gguf" : folder;
}

inline std::vector<std::string> families_with_models() {
  std::vector<std::string> names;
  for (const auto& entry :
       std::filesystem::directory_iterator(source_file("tests/golden/families"))) {
    if (std::filesystem::exists(entry.path() / "golden.json")) {
      names.push_back(entry.path().filename().string());
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace lathe::test
