// A directory that appears whole or not at all: filled under a temporary name beside the target,
// then renamed. A process that is killed leaves at most `<path>.tmp-<pid>-<n>`, which the next one
// with the same `path` removes.
#pragma once

#include <string>

#include "lathe/base/result.h"

namespace lathe {

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
