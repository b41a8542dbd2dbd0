#include "lathe/eval/data/dataset.h"

#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "lathe/base/parse_json.h"
#include "lathe/eval/data/hub_data.h"
#include "lathe/eval/data/text_file.h"
#include "lathe/model/checkpoint.h"

namespace lathe {
namespace {

namespace fs = std::filesystem;

struct StandardSet {
  const char* name;
  std::vector<const char*> files;  // below LATHE_DATA; the first present is taken
};

const std::vector<StandardSet>& standard_sets() {
  static const std::vector<StandardSet> sets = {
      {"wikitext2", {"wikitext2.test.raw", "text/wikitext2.test.raw", "wiki.test.raw"}},
      {"squad_v2", {"dev-v2.0.json", "squad_v2.json", "qa/squad_v2_dev_half.json"}},
      {"gsm8k", {"gsm8k/test.jsonl", "gsm8k.jsonl"}},
  };
  return sets;
}

Result<std::string> text_field(const nlohmann::json& object, const char* key) {
  const auto it = object.find(key);
  if (it == object.end() || !it->is_string()) return bad_input("'{}' is missing or no text", key);
  return it->get<std::string>();
}

Result<std::vector<const nlohmann::json*>> list_field(const nlohmann::json& object,
                                                      const char* key) {
  const auto it = object.find(key);
  if (it == object.end() || !it->is_array()) return bad_input("'{}' is missing or no list", key);
  std::vector<const nlohmann::json*> out;
  for (const auto& item : *it) {
    if (!item.is_object()) return bad_input("'{}' must hold objects", key);
    out.push_back(&item);
  }
  return out;
}

Status add_questions(const nlohmann::json& paragraph, int64_t limit, std::set<std::string>& ids,
                     std::vector<SquadQuestion>& out) {
  LATHE_TRY(const std::string context, text_field(paragraph, "context"));
  LATHE_TRY(const auto questions, list_field(paragraph, "qas"));
  for (const nlohmann::json* qa : questions) {
    if (limit > 0 && static_cast<int64_t>(out.size()) >= limit) return {};
    SquadQuestion q;
    q.context = context;
    LATHE_TRY(q.id, text_field(*qa, "id"));
    LATHE_TRY(q.question, text_field(*qa, "question"));
    LATHE_TRY(const auto answers, list_field(*qa, "answers"));
    for (const nlohmann::json* answer : answers) {
      LATHE_TRY(std::string text, text_field(*answer, "text"));
      q.answers.push_back(std::move(text));
    }
    const auto impossible = qa->find("is_impossible");
    if (impossible != qa->end()) {
      if (!impossible->is_boolean()) return bad_input("'is_impossible' must be true or false");
      if (impossible->get<bool>()) q.answers.clear();
    }
    // Samples are known by their id when runs are continued and compared.
    if (!ids.insert(q.id).second) return bad_input("the id '{}' comes twice", q.id);
    out.push_back(std::move(q));
  }
  return {};
}

}  // namespace

Result<std::string> find_dataset(const std::string& name, const std::string& task) {
  if (name == "bundled") {
    LATHE_TRY(const std::string model, resolve_model("bundled"));
    const char* file = task == "squad_v2" ? "squad_v2.json"
                       : task == "gsm8k"  ? "gsm8k.jsonl"
                                          : "text.txt";
    return model + "/data/" + file;
  }
  std::error_code error;
  for (const StandardSet& set : standard_sets()) {
    if (name != set.name) continue;
    const char* folder = std::getenv("LATHE_DATA");
    if (!folder) {
      return not_found("data set '{}': LATHE_DATA is not set", name)
          .with_hint("set LATHE_DATA to the folder that holds it, or give a path");
    }
    for (const char* file : set.files) {
      const std::string path = std::string(folder) + "/" + file;
      if (fs::exists(path, error)) return path;
    }
    return not_found("data set '{}': no {} under {}", name, set.files[0], folder);
  }
  if (fs::exists(name, error)) return name;
  LATHE_TRY(const auto pulled, find_in_pulled_data(name));
  if (pulled) return *pulled;
  return not_found("data set '{}': no such file, and not a known name", name)
      .with_hint(
          "known: bundled, wikitext2, squad_v2, gsm8k, a path, or ORG/NAME:FILE after 'lathe pull "
          "--dataset ORG/NAME'");
}

Result<std::vector<SquadQuestion>> read_squad(const std::string& path, int64_t limit) {
  LATHE_TRY(const std::string text, read_utf8(path));
  return parse_squad(text, path, limit);
}

Result<std::vector<SquadQuestion>> parse_squad(std::string_view text, const std::string& path,
                                               int64_t limit) {
  LATHE_TRY_IN(const auto json, parse_json(text), path);
  if (!json.is_object()) return bad_input("{}: not a SQuAD file (an object with 'data')", path);
  std::vector<SquadQuestion> out;
  std::set<std::string> ids;
  LATHE_TRY_IN(const auto articles, list_field(json, "data"), path);
  for (const nlohmann::json* article : articles) {
    LATHE_TRY_IN(const auto paragraphs, list_field(*article, "paragraphs"), path);
    for (const nlohmann::json* paragraph : paragraphs) {
      LATHE_OK_IN(add_questions(*paragraph, limit, ids, out), path);
    }
  }
  if (out.empty()) return bad_input("{}: holds no questions", path);
  return out;
}

Result<std::vector<Gsm8kProblem>> read_gsm8k(const std::string& path, int64_t limit) {
  LATHE_TRY(const std::string text, read_utf8(path));
  return parse_gsm8k(text, path, limit);
}

Result<std::vector<Gsm8kProblem>> parse_gsm8k(std::string_view text, const std::string& path,
                                              int64_t limit) {
  std::vector<Gsm8kProblem> out;
  int64_t number = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view line(text.data() + begin, end - begin);
    begin = end + 1;
    ++number;
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    if (limit > 0 && static_cast<int64_t>(out.size()) >= limit) break;
    const std::string where = fmt::format("{}:{}", path, number);
    const nlohmann::json json = nlohmann::json::parse(line, nullptr, false);
    if (json.is_discarded() || !json.is_object()) return bad_input("{}: not a JSON object", where);
    Gsm8kProblem problem;
    problem.id = std::to_string(number);
    LATHE_TRY_IN(problem.question, text_field(json, "question"), where);
    LATHE_TRY_IN(problem.answer, text_field(json, "answer"), where);
    out.push_back(std::move(problem));
  }
  if (out.empty()) return bad_input("{}: holds no problems", path);
  return out;
}

}  // namespace lathe
