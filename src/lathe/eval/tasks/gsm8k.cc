// GSM8K by generation, prompts and extraction as in lm-evaluation-harness (see metrics/gsm8k.h).
#include "lathe/eval/metrics/gsm8k.h"
#include "lathe/eval/data/dataset.h"
#include "lathe/eval/tasks/generation_task.h"
#include "lathe/eval/tasks/list.h"

namespace lathe {
namespace {

class Gsm8kTask : public GenerationTask {
 public:
  explicit Gsm8kTask(nlohmann::json parameters) : GenerationTask("gsm8k", std::move(parameters)) {}

  std::vector<MetricDef> scored_metrics() const override {
    const auto percent = [](const char* name) {
      return MetricDef{name, MetricDef::Kind::kMean, name, "", 100, "%", "higher"};
    };
    return {percent("strict_match"), percent("flexible_match")};
  }

  std::vector<std::string> input_files() const override {
    std::vector<std::string> files;
    if (const auto path = find_dataset(text("data"), "gsm8k"); path.ok()) files.push_back(*path);
    if (integer("shots") > 0) files.push_back(text("shots_data"));
    return files;
  }

 protected:
  Result<std::vector<Item>> load() const override {
    LATHE_TRY(const std::string path, find_dataset(text("data"), "gsm8k"));
    LATHE_TRY(const std::string shots, few_shot_text());
    LATHE_TRY(const auto problems, read_gsm8k(path, integer("limit")));
    std::vector<Item> items;
    for (const Gsm8kProblem& p : problems) {
      Item item;
      item.id = p.id;
      const std::string own = "Question: " + p.question + "\nAnswer:";
      item.prompt = shots + own;
      if (!shots.empty()) item.own_prompt = own;
      item.gold = nlohmann::json::array({p.answer});
      items.push_back(std::move(item));
    }
    return items;
  }

  std::vector<std::string> stops() const override { return {"Question:", "</s>", "<|im_end|>"}; }

  Sample score(const Item& item, const std::string& generated) const override {
    const auto gold = item.gold[0].get<std::string>();
    Sample sample;
    sample.scores = {{"strict_match", gsm8k_match(gold, generated, Gsm8kExtraction::kStrict)},
                     {"flexible_match", gsm8k_match(gold, generated, Gsm8kExtraction::kFlexible)}};
    return sample;
  }

 private:
  Result<std::string> few_shot_text() const {
    std::string out;
    if (integer("shots") == 0) return out;
    if (text("shots_data").empty()) {
      return bad_input("task 'gsm8k': 'shots' needs 'shots_data', a file of worked examples")
          .with_hint("give the training set, so that no test problem is shown");
    }
    LATHE_TRY(const auto examples, read_gsm8k(text("shots_data"), integer("shots")));
    for (const Gsm8kProblem& p : examples) {
      out += "Question: " + p.question + "\nAnswer: " + p.answer + "\n\n";
    }
    return out;
  }
};

}  // namespace

TaskKind gsm8k_task() {
  return {"gsm8k",
          "sums told as stories: exact match of the final number, strict and flexible extraction",
          {{"data", "bundled"},
           {"limit", 0},
           {"shots", 0},
           {"shots_data", ""},
           {"chat", false},
           {"encoder", ""},
           {"max_tokens", 256},
           {"batch", 16}},
          [](nlohmann::json p) -> std::unique_ptr<Task> {
            return std::make_unique<Gsm8kTask>(std::move(p));
          }};
}

}  // namespace lathe
