// A one-line progress bar on stderr, shown on a terminal for work that takes more than two seconds.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace lathe {

class Progress {
 public:
  // `total` in any unit; `unit` is printed after the counts ("windows", "questions", "MB").
  Progress(std::string label, int64_t total, std::string unit);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void advance(int64_t by = 1);
  void set(int64_t done);

  // Off for --quiet and when stderr is no terminal; LATHE_PROGRESS=1 forces it on.
  static void enable(bool on);

 private:
  void draw();

  std::string label_, unit_;
  int64_t total_, done_ = 0;
  std::chrono::steady_clock::time_point start_, drawn_;
  bool shown_ = false;
};

}  // namespace lathe
