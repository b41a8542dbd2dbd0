// A task file's templates over its rows: prompts, few-shot examples, options, right answers.
#pragma once

#include <optional>

#include "lathe/eval/data/task_spec.h"

namespace lathe {

// One row, ready to be asked.
struct PromptedRow {
  std::string id;
  std::string prompt;                      // of the row alone; empty where that is contexts[0]
  std::vector<std::string> contexts;       // one; several where each option has its own
  std::vector<std::string> continuations;  // the options, or the target, delimiter included
  std::vector<std::string> options;        // the same without, for lengths and for people
  std::vector<std::string> references;     // generate: the golds
  int64_t answer = 0;                      // multiple_choice: the right option
};

struct PromptOptions {
  std::string data, shots_data;  // paths that replace the file's own; empty: its own
  std::string prompt;            // likewise
  int64_t limit = 0, shots = 0;
  bool chat = false;  // answers then follow the template's own words, not the delimiter
};

// The files that prompt_rows() would read; those that are not there are left out.
std::vector<std::string> prompt_files(const TaskSpec& spec, const PromptOptions& options);

// All rows. `path` receives the data file.
Result<std::vector<PromptedRow>> prompt_rows(const TaskSpec& spec, const PromptOptions& options,
                                             std::string* path);

}  // namespace lathe
