#include "lathe/eval/data/task_spec.h"

#include <algorithm>
#include <filesystem>
#include <set>

#include "lathe/base/hash.h"
#include "lathe/base/mapped_file.h"
#include "lathe/base/suggest.h"
#include "lathe/eval/data/fields.h"
#include "lathe/io/yaml.h"

namespace lathe {
namespace {

using Json = nlohmann::ordered_json;

Result<TaskOutput> parse_output(const std::string& name) {
  if (name == "generate") return TaskOutput::kGenerate;
  if (name == "loglikelihood") return TaskOutput::kLoglikelihood;
  if (name == "multiple_choice") return TaskOutput::kMultipleChoice;
  if (name == "rolling") return TaskOutput::kRolling;
  return bad_input("task: unknown output '{}'", name)
      .with_hint(suggest(name, {"generate", "loglikelihood", "multiple_choice", "rolling"}));
}

Status parse_data(const Json& json, const char* what, RowSource& source, std::string* id) {
  Fields fields(json, what);
  LATHE_TRY(source.paths, fields.texts("path"));
  LATHE_TRY(source.format, fields.text("format", ""));
  LATHE_TRY(source.rows, fields.text("rows", ""));
  if (id) {
    LATHE_TRY(*id, fields.text("id", ""));
  }
  if (!source.format.empty()) {
    const auto& known = row_formats();
    if (std::find(known.begin(), known.end(), source.format) == known.end()) {
      return bad_input("{}: unknown format '{}'", what, source.format)
          .with_hint(suggest(source.format, known));
    }
  }
  const bool by_suffix = source.format == "parallel";
  if (fields.has("columns")) {
    const Json& columns = fields.at("columns");
    if (columns.is_array() ? by_suffix : !by_suffix) {
      return bad_input("{}: 'columns' must be {}", what,
                       by_suffix ? "a map from names to suffixes" : "a list of names");
    }
    for (const auto& [key, value] : columns.items()) {
      if (!value.is_string()) return bad_input("{}: 'columns' must hold texts", what);
      source.columns.emplace_back(by_suffix ? key : value.get<std::string>(),
                                  by_suffix ? value.get<std::string>() : "");
    }
  }
  if ((by_suffix || source.format == "lines") && source.columns.empty()) {
    return bad_input("{}: the format '{}' needs 'columns'", what, source.format);
  }
  if (source.format == "lines" && source.columns.size() != 1) {
    return bad_input("{}: the format 'lines' has one column", what);
  }
  return fields.finish();
}

Status parse_few_shot(const Json& json, TaskSpec& spec) {
  Fields fields(json, "few_shot");
  LATHE_TRY(spec.shots, fields.integer("shots", 0));
  LATHE_TRY(spec.separator, fields.text("separator", spec.separator));
  if (fields.has("examples")) {
    const Json& examples = fields.at("examples");
    if (!examples.is_array()) return bad_input("few_shot: 'examples' must be a list");
    for (const Json& row : examples) {
      if (!row.is_object()) return bad_input("few_shot: 'examples' must hold maps of fields");
      spec.examples.push_back(row);
    }
  }
  if (fields.has("data"))
    LATHE_OK(parse_data(fields.at("data"), "few_shot data", spec.shots_data, nullptr));
  if (spec.shots < 0) return bad_input("few_shot: 'shots' is {}", spec.shots);
  if (!spec.examples.empty() && spec.shots > std::ssize(spec.examples)) {
    return bad_input("few_shot: {} shots, but only {} examples", spec.shots, spec.examples.size());
  }
  return fields.finish();
}

// A list of texts goes to `list`, one text to `expression`.
Status parse_list(Fields& fields, const char* key, std::vector<std::string>& list,
                  std::string& expression) {
  if (!fields.has(key)) return {};
  if (fields.at(key).is_string()) {
    expression = fields.at(key).get<std::string>();
    return {};
  }
  LATHE_TRY(list, fields.texts(key));
  return {};
}

Status check_template(const char* key, const std::string& source) {
  const auto parsed = Template::parse(source);
  if (!parsed.ok()) return Error(parsed.error()).in(fmt::format("'{}'", key));
  return {};
}

Status check_expression(const char* key, const std::string& source) {
  if (source.empty()) return {};
  const auto parsed = Template::parse_expression(source);
  if (!parsed.ok()) return Error(parsed.error()).in(fmt::format("'{}'", key));
  return {};
}

Status check_templates(const TaskSpec& spec) {
  LATHE_OK(check_template("preamble", spec.preamble));
  LATHE_OK(check_template("prompt", spec.prompt));
  LATHE_OK(check_template("target", spec.target));
  LATHE_OK(check_template("answer", spec.answer));
  for (const std::string& choice : spec.choices) LATHE_OK(check_template("choices", choice));
  LATHE_OK(check_expression("choices", spec.choices_expression));
  LATHE_OK(check_expression("contexts", spec.contexts_expression));
  LATHE_OK(check_expression("labels", spec.labels_expression));
  return check_expression("references", spec.references);
}

Status parse_filters(const Json& json, TaskSpec& spec) {
  if (!json.is_object()) return bad_input("filters: must be a map from names to lists of steps");
  for (const auto& [name, steps] : json.items()) {
    LATHE_TRY_IN(Filter filter, Filter::parse(steps), fmt::format("filter '{}'", name));
    spec.filters.emplace_back(name, std::move(filter));
  }
  return {};
}

Status parse_made_fields(const Json& json, TaskSpec& spec) {
  if (!json.is_object()) return bad_input("fields: must be a map from names to {{from, steps}}");
  for (const auto& [name, value] : json.items()) {
    const std::string what = fmt::format("field '{}'", name);
    Fields fields(value, what);
    TaskSpec::Field field{name, "", {}};
    LATHE_TRY(field.from, fields.text("from"));
    LATHE_OK_IN(check_expression("from", field.from), what);
    if (fields.has("steps")) {
      LATHE_TRY_IN(field.steps, Filter::parse(fields.at("steps")), what);
    }
    LATHE_OK(fields.finish());
    spec.fields.push_back(std::move(field));
  }
  return {};
}

const std::vector<std::string>& score_metrics_of(TaskOutput output) {
  static const std::vector<std::string> choice = {"acc", "acc_norm", "acc_bytes"};
  static const std::vector<std::string> likelihood = {"acc", "ppl"};
  static const std::vector<std::string> rolling = {"word_ppl", "byte_ppl", "bits_per_byte", "ppl"};
  return output == TaskOutput::kMultipleChoice  ? choice
         : output == TaskOutput::kLoglikelihood ? likelihood
                                                : rolling;
}

Status parse_text_metric(const std::string& kind, const Json& given, TaskSpec& spec) {
  Json options = given;
  std::string name;
  TaskSpec::Metric metric;
  for (const char* key : {"name", "filter"}) {
    if (!options.is_object() || !options.contains(key)) continue;
    if (!options[key].is_string()) return bad_input("metric '{}': '{}' must be text", kind, key);
    (std::string(key) == "name" ? name : metric.filter) = options[key].get<std::string>();
    options.erase(key);
  }
  if (!metric.filter.empty()) {
    std::vector<std::string> names;
    for (const auto& [filter, steps] : spec.filters) names.push_back(filter);
    if (std::find(names.begin(), names.end(), metric.filter) == names.end()) {
      return bad_input("metric '{}': no filter '{}'", kind, metric.filter)
          .with_hint(suggest(metric.filter, names));
    }
  }
  LATHE_TRY(metric.metric, make_text_metric(kind, name, options));
  spec.text_metrics.push_back(std::move(metric));
  return {};
}

Status parse_metrics(const Json& json, TaskSpec& spec) {
  if (!json.is_array() || json.empty()) return bad_input("'metrics' must be a list, not empty");
  for (const Json& entry : json) {
    const bool plain = entry.is_string();
    if (!plain && (!entry.is_object() || entry.size() != 1)) {
      return bad_input("metrics: an entry is a name or 'name: {{options}}', found {}",
                       entry.dump());
    }
    const std::string kind = plain ? entry.get<std::string>() : entry.items().begin().key();
    const Json options = plain ? Json() : entry.items().begin().value();
    if (spec.output == TaskOutput::kGenerate) {
      LATHE_OK(parse_text_metric(kind, options, spec));
      continue;
    }
    const auto& known = score_metrics_of(spec.output);
    if (std::find(known.begin(), known.end(), kind) == known.end()) {
      return bad_input("unknown metric '{}' for this output", kind).with_hint(suggest(kind, known));
    }
    if (!options.is_null()) return bad_input("metric '{}' has no options", kind);
    spec.score_metrics.push_back(kind);
  }
  std::set<std::string> rows, encoders;
  for (const auto& metric : spec.text_metrics) {
    if (!metric.metric.encoder.empty()) encoders.insert(metric.metric.encoder);
    if (encoders.size() > 1) return bad_input("metrics: a task has one encoder, these name two");
    for (const MetricDef& row : metric.metric.rows) {
      if (!rows.insert(row.name).second) {
        return bad_input("two metrics are called '{}'", row.name)
            .with_hint("give one of them a 'name'");
      }
    }
  }
  return {};
}

Status check_shape(const TaskSpec& spec, bool has_prompt) {
  const bool choice = spec.output == TaskOutput::kMultipleChoice;
  const bool options = !spec.choices.empty() || !spec.choices_expression.empty();
  if (!has_prompt && spec.contexts_expression.empty())
    return bad_input("task: 'prompt' is missing");
  if (choice && options == !spec.contexts_expression.empty()) {
    return bad_input("task: multiple_choice needs either 'choices' or 'contexts'");
  }
  if (choice && spec.answer.empty()) return bad_input("task: multiple_choice needs 'answer'");
  if (!choice && (options || !spec.answer.empty() || !spec.contexts_expression.empty())) {
    return bad_input("task: 'choices', 'contexts' and 'answer' are for multiple_choice");
  }
  const bool needs_target = spec.output == TaskOutput::kLoglikelihood ||
                            !spec.contexts_expression.empty() ||
                            (spec.output == TaskOutput::kGenerate && spec.references.empty());
  if (needs_target && spec.target.empty()) return bad_input("task: 'target' is missing");
  const bool more_shots = spec.shots > 0 && spec.examples.empty() && spec.shots_data.paths.empty();
  if (spec.shots > 0 &&
      (!spec.contexts_expression.empty() || spec.output == TaskOutput::kRolling)) {
    return bad_input("task: no few-shot examples with 'contexts' or 'output: rolling'");
  }
  if (more_shots) return bad_input("few_shot: 'shots' needs 'examples' or 'data'");
  if (spec.output == TaskOutput::kGenerate && spec.max_tokens < 1) {
    return bad_input("task: 'max_tokens' is {}", spec.max_tokens);
  }
  return {};
}

Result<std::shared_ptr<const TaskSpec>> read(const Json& json) {
  auto spec = std::make_shared<TaskSpec>();
  Fields fields(json, "task");
  LATHE_TRY(spec->name, fields.text("task"));
  const bool plain =
      !spec->name.empty() && std::all_of(spec->name.begin(), spec->name.end(), [](unsigned char c) {
        return std::isalnum(c) || c == '_' || c == '-' || c == '+';
      });
  if (!plain)
    return bad_input("task: the name '{}' may hold letters, digits, _, - and +", spec->name);
  LATHE_TRY(spec->version, fields.integer("version", 1));
  LATHE_TRY(spec->description, fields.text("description", ""));
  LATHE_TRY(const std::string output, fields.text("output"));
  LATHE_TRY(spec->output, parse_output(output));
  if (fields.has("data")) LATHE_OK(parse_data(fields.at("data"), "data", spec->data, &spec->id));
  if (fields.has("fields")) LATHE_OK(parse_made_fields(fields.at("fields"), *spec));
  LATHE_TRY(spec->preamble, fields.text("preamble", ""));
  const bool has_prompt = fields.has("prompt");
  LATHE_TRY(spec->prompt, fields.text("prompt", ""));
  LATHE_TRY(spec->target, fields.text("target", ""));
  LATHE_TRY(spec->references, fields.text("references", ""));
  LATHE_TRY(spec->delimiter, fields.text("delimiter", spec->delimiter));
  LATHE_OK(parse_list(fields, "choices", spec->choices, spec->choices_expression));
  LATHE_TRY(spec->contexts_expression, fields.text("contexts", ""));
  LATHE_TRY(spec->answer, fields.text("answer", ""));
  LATHE_OK(parse_list(fields, "labels", spec->labels, spec->labels_expression));
  if (fields.has("few_shot")) LATHE_OK(parse_few_shot(fields.at("few_shot"), *spec));
  LATHE_TRY(spec->stops, fields.texts("stops"));
  LATHE_TRY(spec->max_tokens, fields.integer("max_tokens", spec->max_tokens));
  if (fields.has("filters")) LATHE_OK(parse_filters(fields.at("filters"), *spec));
  if (!fields.has("metrics")) return bad_input("task: 'metrics' is missing");
  LATHE_OK(parse_metrics(fields.at("metrics"), *spec));
  LATHE_OK(fields.finish());
  LATHE_OK(check_shape(*spec, has_prompt));
  LATHE_OK(check_templates(*spec));
  return std::shared_ptr<const TaskSpec>(std::move(spec));
}

}  // namespace

Result<std::shared_ptr<const TaskSpec>> parse_task_spec(const std::string& yaml,
                                                        const std::string& where,
                                                        const std::string& folder) {
  LATHE_TRY(const Json json, yaml_to_ordered_json(yaml, where));
  if (!json.is_object())
    return bad_input("{}: a task is a list of keys: task, output, data …", where);
  LATHE_TRY_IN(const auto spec, read(json), where);
  auto out = std::const_pointer_cast<TaskSpec>(spec);
  out->hash = sha256_hex(yaml);
  out->data.folder = out->shots_data.folder = folder;
  return std::shared_ptr<const TaskSpec>(std::move(out));
}

Result<std::shared_ptr<const TaskSpec>> load_task_spec(const std::string& path) {
  LATHE_TRY(const std::string text, read_text(path, size_t{1} << 20));
  return parse_task_spec(text, path, std::filesystem::path(path).parent_path().string());
}

}  // namespace lathe
