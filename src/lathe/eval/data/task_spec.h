// A task as data: the YAML file that docs/tasks.md describes, read and checked.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lathe/eval/data/filter.h"
#include "lathe/eval/data/rows.h"
#include "lathe/eval/data/text_metric.h"
#include "lathe/text/template.h"

namespace lathe {

enum class TaskOutput : uint8_t { kGenerate, kLoglikelihood, kMultipleChoice, kRolling };

struct TaskSpec {
  std::string name, description, hash;  // SHA-256 of the file
  int64_t version = 0;
  TaskOutput output = TaskOutput::kGenerate;

  RowSource data;
  std::string id;  // the field that names a row; empty: its number, from 1

  // Fields made from a row's own, for the templates: an expression that gives a text or a list of
  // texts, and steps that each goes through.
  struct Field {
    std::string name, from;
    Filter steps;
  };
  std::vector<Field> fields;

  std::string preamble, prompt, target;  // templates
  std::string references;                // expression: a list of texts; empty: `target` alone
  std::string delimiter = " ";           // between prompt and answer
  std::string separator = "\n\n";        // between few-shot examples
  int64_t shots = 0;
  std::vector<Row> examples;  // of the file itself
  RowSource shots_data;

  // Multiple choice. Options are templates or an expression that gives a list; `contexts`,
  // likewise, where each option has its own prompt and all share the target (WinoGrande).
  std::vector<std::string> choices;
  std::string choices_expression, contexts_expression;
  std::string answer;               // template: a label, or the number of the right option, from 0
  std::vector<std::string> labels;  // what `answer` may be
  std::string labels_expression;

  std::vector<std::string> stops;
  int64_t max_tokens = 128;

  struct Metric {
    std::string
        filter;  // name of a filter; empty: the text as generated, without white space around it
    TextMetric metric;
  };
  std::vector<std::pair<std::string, Filter>> filters;
  std::vector<Metric> text_metrics;        // kGenerate
  std::vector<std::string> score_metrics;  // others: names
};

// `where` names the text in errors; `folder` is where its data paths start.
Result<std::shared_ptr<const TaskSpec>> parse_task_spec(const std::string& yaml,
                                                        const std::string& where,
                                                        const std::string& folder);
Result<std::shared_ptr<const TaskSpec>> load_task_spec(const std::string& path);

// The task files that are built into the program.
struct BuiltinTask {
  const char* file;
  const char* yaml;
};
std::span<const BuiltinTask> builtin_tasks();

// The task kind of a specification; its parameters are data, limit, shots, shots_data, prompt,
// chat, max_tokens, encoder and batch, as far as its output has them.
TaskKind data_task_kind(std::shared_ptr<const TaskSpec> spec);

}  // namespace lathe
