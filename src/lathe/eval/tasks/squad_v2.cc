// SQuAD v2 by generation. The no-answer rule is squad_answer_from_generation()'s.
#include "lathe/eval/data/dataset.h"
#include "lathe/eval/metrics/squad.h"
#include "lathe/eval/tasks/generation_task.h"
#include "lathe/eval/tasks/list.h"

namespace lathe {
namespace {

class SquadTask : public GenerationTask {
 public:
  explicit SquadTask(nlohmann::json parameters)
      : GenerationTask("squad_v2", std::move(parameters)) {}

  std::vector<MetricDef> metrics() const override {
    const auto percent = [](const char* name) {
      return MetricDef{name, MetricDef::Kind::kMean, name, "", 100, "%", "higher"};
    };
    return {percent("f1"), percent("exact_match"), percent("has_ans_f1"), percent("no_ans_f1")};
  }

 protected:
  Result<std::vector<Item>> load() const override {
    LATHE_TRY(const std::string path, find_dataset(text("data"), "squad_v2"));
    LATHE_TRY(const auto questions, read_squad(path, integer("limit")));
    std::vector<Item> items;
    for (const SquadQuestion& q : questions) {
      Item item;
      item.id = q.id;
      item.prompt =
          fill_template(text("prompt"), {{"context", q.context}, {"question", q.question}});
      item.gold = q.answers;
      items.push_back(std::move(item));
    }
    return items;
  }

  std::vector<std::string> stops() const override { return {"\n"}; }

  Sample score(const Item& item, const std::string& generated) const override {
    const auto golds = item.gold.get<std::vector<std::string>>();
    const SquadScore s = squad_score(golds, squad_answer_from_generation(generated));
    Sample sample;
    sample.scores = {{"f1", s.f1}, {"exact_match", s.exact_match}};
    sample.scores[golds.empty() ? "no_ans_f1" : "has_ans_f1"] = s.f1;
    return sample;
  }
};

}  // namespace

TaskKind squad_v2_task() {
  return {"squad_v2",
          "extractive question answering with unanswerable questions: exact match and token F1",
          {{"data", "bundled"},
           {"limit", 0},
           {"prompt", "Context: {context}\nQuestion: {question}\nAnswer:"},
           {"chat", false},
           {"max_tokens", 32},
           {"batch", 16}},
          [](nlohmann::json p) -> std::unique_ptr<Task> {
            return std::make_unique<SquadTask>(std::move(p));
          }};
}

}  // namespace lathe
