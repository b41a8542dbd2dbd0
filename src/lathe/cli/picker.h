// A list on the terminal to choose runs from, by keyboard.
#pragma once

#include <string>
#include <vector>

#include "lathe/lab/plan.h"

namespace lathe::cli {

// The ids of the runs that were chosen; empty if the user left. All are chosen at first but those
// that cannot run. An error where stdin or stdout is no terminal.
Result<std::vector<std::string>> pick_runs(const std::vector<PlannedRun>& plan);

// The list itself, for tests: what a key does to it.
struct Picker {
  std::vector<std::string> lines;
  std::vector<bool> chosen;
  size_t at = 0;
  enum class State : uint8_t { kOpen, kDone, kLeft } state = State::kOpen;

  // "up", "down", "j", "k", " " (this one), "a" (all), "n" (none), "i" (the others), "enter", "q"
  void press(const std::string& key);
  std::string draw(size_t height) const;
};

}  // namespace lathe::cli
