// A directory that appears whole or not at all: filled under a temporary name beside the target,
// then renamed. A process that is killed leaves at most `<path>.tmp-<pid>-<n>`, which the next one
// with the same `path` removes.
#pragma once

#include <string>
#include <vector>

#include "lathe/base/result.h"

namespace lathe {

// What a killed process has left under a temporary name; removed when this goes.
class LeftFolder {
 public:
  LeftFolder(std::string path, int lock) : path_(std::move(path)), lock_(lock) {}
  LeftFolder(LeftFolder&& other) noexcept;
  LeftFolder& operator=(LeftFolder&&) = delete;
  ~LeftFolder();
  const std::string& path() const { return path_; }

 private:
  std::string path_;  // empty: moved away
  int lock_;
};
// All of `target` that nobody is filling, and that no other LeftFolder holds.
std::vector<LeftFolder> left_folders(const std::string& target);

class OutputDirectory {
 public:
  // Refuses a `path` that exists, unless `overwrite` and it holds a lathe.json, and one whose
  // parent is missing or not writable.
  static Result<OutputDirectory> create(const std::string& path, bool overwrite);
  OutputDirectory(OutputDirectory&& other) noexcept;
  OutputDirectory& operator=(OutputDirectory&&) = delete;
  ~OutputDirectory();  // removes the temporary directory unless committed

  // Where to write until then.
  const std::string& path() const { return temporary_; }
  Status commit();

 private:
  OutputDirectory(std::string target, std::string temporary, bool overwrite, int lock)
      : target_(std::move(target)),
        temporary_(std::move(temporary)),
        overwrite_(overwrite),
        lock_(lock) {}

  std::string target_, temporary_;
  bool overwrite_;
  int lock_;  // held on the temporary directory while it is filled; -1: none to be had here
};

}  // namespace lathe
