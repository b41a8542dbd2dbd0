#include "lathe/eval/data/row_prompts.h"

#include <algorithm>
#include <set>

namespace lathe {
namespace {

using Json = nlohmann::ordered_json;

// The row with the task's own fields added.
Result<Row> completed(const TaskSpec& spec, const Row& row) {
  Row out = row;
  for (const TaskSpec::Field& field : spec.fields) {
    const std::string what = fmt::format("field '{}'", field.name);
    LATHE_TRY(const Template from, Template::parse_expression(field.from));
    LATHE_TRY_IN(Json value, from.evaluate(out), what);
    const auto apply = [&](Json& text) {
      if (text.is_string()) text = field.steps.apply(text.get<std::string>());
      return text.is_string();
    };
    const bool texts =
        value.is_array() ? std::all_of(value.begin(), value.end(), apply) : apply(value);
    if (!texts) return bad_input("{} gives no text and no list of texts: {}", what, value.dump());
    out[field.name] = std::move(value);
  }
  return out;
}

class Prompter {
 public:
  static Result<Prompter> create(const TaskSpec& spec, const PromptOptions& options) {
    Prompter p(spec);
    LATHE_TRY(Template preamble, Template::parse(spec.preamble));
    LATHE_TRY(Template prompt,
              Template::parse(options.prompt.empty() ? spec.prompt : options.prompt));
    LATHE_TRY(Template target, Template::parse(spec.target));
    LATHE_TRY(Template answer, Template::parse(spec.answer));
    p.templates_.push_back(std::move(preamble));
    p.templates_.push_back(std::move(prompt));
    p.templates_.push_back(std::move(target));
    p.templates_.push_back(std::move(answer));
    for (const std::string& choice : spec.choices) {
      LATHE_TRY(Template t, Template::parse(choice));
      p.choices_.push_back(std::move(t));
    }
    return p;
  }

  Status add_shots(const PromptOptions& options) {
    if (options.shots == 0) return {};
    std::vector<Row> rows = spec_.examples;
    if (!options.shots_data.empty() || rows.empty()) {
      RowSource source = spec_.shots_data.paths.empty() ? spec_.data : spec_.shots_data;
      if (!options.shots_data.empty()) source = with_file(std::move(source), options.shots_data);
      if (options.shots_data.empty() && spec_.shots_data.paths.empty()) {
        return bad_input("'shots' needs 'shots_data', a file of worked examples")
            .with_hint("give the training set, so that no test row is shown");
      }
      LATHE_TRY(rows, read_rows(source, options.shots));
    }
    if (std::ssize(rows) < options.shots) {
      return bad_input("{} shots, but only {} examples", options.shots, rows.size());
    }
    for (int64_t i = 0; i < options.shots; ++i) {
      const std::string where = fmt::format("example {}", i + 1);
      LATHE_TRY_IN(const Row row, completed(spec_, rows[static_cast<size_t>(i)]), where);
      LATHE_TRY_IN(const std::string prompt, templates_[kPrompt].render(row), where);
      LATHE_TRY_IN(const std::string answer, answer_of(row), where);
      shots_ += prompt + spec_.delimiter + answer + spec_.separator;
    }
    return {};
  }

  Result<PromptedRow> operator()(const Row& plain, int64_t number, bool chat) const {
    PromptedRow out;
    LATHE_TRY(const Row row, completed(spec_, plain));
    LATHE_TRY(out.id, id_of(row, number));
    LATHE_TRY(std::string context, templates_[kPreamble].render(row));
    context += shots_;
    if (spec_.contexts_expression.empty()) {
      LATHE_TRY(const std::string prompt, templates_[kPrompt].render(row));
      out.contexts = {context + prompt};
      if (!context.empty()) out.prompt = prompt;
    } else {
      LATHE_TRY(out.contexts, texts_of(spec_.contexts_expression, row, "contexts"));
      for (std::string& c : out.contexts) c = context + c;
    }
    if (spec_.output == TaskOutput::kMultipleChoice && spec_.contexts_expression.empty()) {
      LATHE_TRY(out.options, options_of(row));
    } else if (!spec_.target.empty()) {
      LATHE_TRY(std::string target, templates_[kTarget].render(row));
      out.options = {std::move(target)};
    }
    for (const std::string& option : out.options) {
      out.continuations.push_back(chat ? option : spec_.delimiter + option);
    }
    out.references = out.options;
    if (!spec_.references.empty()) {
      LATHE_TRY(out.references, texts_of(spec_.references, row, "references"));
    }
    if (out.references.empty() && spec_.output == TaskOutput::kGenerate) {
      return bad_input("'references' is empty");
    }
    if (spec_.output == TaskOutput::kMultipleChoice) {
      const size_t count = std::max(out.options.size(), out.contexts.size());
      LATHE_TRY(out.answer, right_answer(row, count));
    }
    return out;
  }

 private:
  enum { kPreamble, kPrompt, kTarget, kAnswer };

  explicit Prompter(const TaskSpec& spec) : spec_(spec) {}

  Result<std::string> id_of(const Row& row, int64_t number) const {
    if (spec_.id.empty()) return std::to_string(number);
    const auto it = row.find(spec_.id);
    if (it == row.end()) return bad_input("has no field '{}'", spec_.id);
    if (it->is_string()) return it->get<std::string>();
    if (it->is_number_integer()) return it->dump();
    return bad_input("the field '{}' is no id: {}", spec_.id, it->dump());
  }

  static Result<std::vector<std::string>> texts_of(const std::string& expression, const Row& row,
                                                   const char* what) {
    LATHE_TRY(const Template t, Template::parse_expression(expression));
    LATHE_TRY_IN(const Json value, t.evaluate(row), fmt::format("'{}'", what));
    const bool texts = value.is_array() && std::all_of(value.begin(), value.end(),
                                                       [](const Json& j) { return j.is_string(); });
    if (!texts) return bad_input("'{}' gives no list of texts: {}", what, value.dump());
    return value.get<std::vector<std::string>>();
  }

  Result<std::vector<std::string>> options_of(const Row& row) const {
    if (choices_.empty()) {
      LATHE_TRY(auto options, texts_of(spec_.choices_expression, row, "choices"));
      if (options.empty()) return bad_input("'choices' is empty");
      return options;
    }
    std::vector<std::string> out;
    for (const Template& choice : choices_) {
      LATHE_TRY(std::string text, choice.render(row));
      out.push_back(std::move(text));
    }
    return out;
  }

  Result<int64_t> right_answer(const Row& row, size_t count) const {
    LATHE_TRY(const std::string answer, templates_[kAnswer].render(row));
    std::vector<std::string> labels = spec_.labels;
    if (!spec_.labels_expression.empty()) {
      LATHE_TRY(labels, texts_of(spec_.labels_expression, row, "labels"));
    }
    if (labels.empty()) {
      for (size_t i = 0; i < count; ++i) labels.push_back(std::to_string(i));
    }
    const auto it = std::find(labels.begin(), labels.end(), answer);
    if (it == labels.end() || static_cast<size_t>(it - labels.begin()) >= count) {
      return bad_input("the answer '{}' is none of the {} options", answer, count);
    }
    return it - labels.begin();
  }

  // What a worked example shows behind its prompt.
  Result<std::string> answer_of(const Row& row) const {
    if (spec_.output != TaskOutput::kMultipleChoice) {
      if (!spec_.target.empty()) return templates_[kTarget].render(row);
      LATHE_TRY(const auto golds, texts_of(spec_.references, row, "references"));
      if (golds.empty()) return bad_input("'references' is empty");
      return golds[0];
    }
    LATHE_TRY(const auto options, options_of(row));
    LATHE_TRY(const int64_t answer, right_answer(row, options.size()));
    return options[static_cast<size_t>(answer)];
  }

  const TaskSpec& spec_;
  std::vector<Template> templates_, choices_;
  std::string shots_;
};

// What a template asks for and the row lacks is often there under another name.
Error with_fields(Error error, const Row& row) {
  if (!error.hint.empty()) return error;
  std::string fields;
  for (const auto& [name, value] : row.items()) fields += (fields.empty() ? "" : ", ") + name;
  return std::move(error).with_hint("the row's fields: " + (fields.empty() ? "none" : fields));
}

}  // namespace

std::vector<std::string> prompt_files(const TaskSpec& spec, const PromptOptions& options) {
  RowSource source = spec.data;
  if (!options.data.empty()) source = with_file(std::move(source), options.data);
  std::vector<std::string> files = row_files(source);
  if (options.shots > 0 && (!options.shots_data.empty() || !spec.shots_data.paths.empty())) {
    RowSource shots = spec.shots_data.paths.empty() ? spec.data : spec.shots_data;
    if (!options.shots_data.empty()) shots = with_file(std::move(shots), options.shots_data);
    for (std::string& file : row_files(shots)) files.push_back(std::move(file));
  }
  return files;
}

Result<std::vector<PromptedRow>> prompt_rows(const TaskSpec& spec, const PromptOptions& options,
                                             std::string* path) {
  RowSource source = spec.data;
  if (!options.data.empty()) source = with_file(std::move(source), options.data);
  LATHE_TRY(const std::vector<Row> rows, read_rows(source, options.limit, path));
  LATHE_TRY(Prompter prompter, Prompter::create(spec, options));
  LATHE_OK(prompter.add_shots(options));
  std::vector<PromptedRow> out;
  std::set<std::string> ids;
  for (const Row& row : rows) {
    const int64_t number = std::ssize(out) + 1;
    const std::string where = fmt::format("{}: row {}", *path, number);
    auto prompted = prompter(row, number, options.chat);
    if (!prompted.ok()) return with_fields(std::move(prompted).error().in(where), row);
    if (!ids.insert(prompted->id).second)
      return bad_input("{}: the id '{}' stands twice", where, prompted->id);
    out.push_back(std::move(prompted).value());
  }
  return out;
}

}  // namespace lathe
