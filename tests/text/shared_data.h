// Where the shared test data lie: $LATHE_SHARED, or ../shared beside the repository.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <string>

inline std::string shared_path(const std::string& relative) {
  const char* folder = std::getenv("LATHE_SHARED");
  return (folder ? std::string(folder) : std::string(LATHE_SOURCE_DIR "/../shared")) + "/" +
         relative;
}

#define LATHE_NEEDS_SHARED(relative)                   \
  if (!std::filesystem::exists(shared_path(relative))) \
  GTEST_SKIP() << "needs " << shared_path(relative) << " (set LATHE_SHARED)"
