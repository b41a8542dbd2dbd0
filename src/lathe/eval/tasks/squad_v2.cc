// SQuAD v2 by generation. The no-answer rule is squad_answer_from_generation()'s. With
// `no_answer_probability` a second pass asks how likely " unanswerable" is behind the prompt, and
// the official sweep over thresholds of that probability gives best_exact and best_f1.
#include <cmath>

#include "lathe/eval/data/dataset.h"
#include "lathe/eval/metrics/squad.h"
#include "lathe/eval/tasks/generation_task.h"
#include "lathe/eval/tasks/list.h"
#include "lathe/generate/options.h"

namespace lathe {
namespace {

class SquadTask : public GenerationTask {
 public:
  explicit SquadTask(nlohmann::json parameters)
      : GenerationTask("squad_v2", std::move(parameters)) {}

  std::vector<MetricDef> scored_metrics() const override {
    const auto percent = [](const char* name) {
      return MetricDef{name, MetricDef::Kind::kMean, name, "", 100, "%", "higher"};
    };
    std::vector<MetricDef> out = {percent("f1"), percent("exact_match"), percent("has_ans_f1"),
                                  percent("no_ans_f1")};
    out.push_back(swept("best_exact", [](const SquadSweep& s) { return s.best_exact; }));
    out.push_back(swept("best_f1", [](const SquadSweep& s) { return s.best_f1; }));
    return out;
  }

  std::vector<std::string> input_files() const override {
    const auto path = find_dataset(text("data"), "squad_v2");
    return path.ok() ? std::vector{*path} : std::vector<std::string>();
  }

  Status run(const Engine& engine, const std::set<std::string>& done,
             const SampleSink& sink) override {
    if (parameters()["no_answer_probability"].get<bool>()) {
      LATHE_OK(score_no_answer(engine, done));
    }
    return GenerationTask::run(engine, done, sink);
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
    const auto probability = no_answer_.find(item.id);
    if (probability != no_answer_.end()) {
      sample.scores["no_answer_probability"] = probability->second;
      sample.scores["has_answer"] = golds.empty() ? 0 : 1;
      sample.scores["answered"] = squad_answer_from_generation(generated).empty() ? 0 : 1;
    }
    return sample;
  }

 private:
  // Only samples with a no-answer probability have the fields; without any, there is no row.
  static MetricDef swept(const char* name, double (*pick)(const SquadSweep&)) {
    MetricDef metric{name, MetricDef::Kind::kCorpus, "", "", 1, "%", "higher"};
    metric.fields = {"exact_match", "f1", "no_answer_probability", "has_answer", "answered"};
    metric.corpus = [pick](const std::vector<std::vector<double>>& columns,
                           std::span<const int64_t> rows) {
      std::vector<SquadSample> samples;
      for (const int64_t row : rows) {
        const auto r = static_cast<size_t>(row);
        samples.push_back(
            {{columns[0][r], columns[1][r]}, columns[3][r] > 0, columns[4][r] > 0, columns[2][r]});
      }
      return pick(squad_aggregate(samples).sweep);
    };
    return metric;
  }

  Status score_no_answer(const Engine& engine, const std::set<std::string>& done) {
    const auto option =
        engine.tokenizer->encode(" unanswerable", {.add_special = false, .parse_special = false});
    std::vector<OptionRequest> requests;
    std::vector<const Item*> asked;
    for (const Item& item : items()) {
      if (done.count(item.id)) continue;
      requests.push_back({item.request.prompt, {option}});
      asked.push_back(&item);
    }
    return score_options(engine, requests, {}, [&](size_t i, const auto& scores) {
      no_answer_[asked[i]->id] = std::exp(scores[0].log_likelihood);
      return true;
    });
  }

  std::map<std::string, double> no_answer_;
};

}  // namespace

TaskKind squad_v2_task() {
  return {"squad_v2",
          "extractive question answering with unanswerable questions: exact match and token F1",
          {{"data", "bundled"},
           {"limit", 0},
           {"prompt", "Context: {context}\nQuestion: {question}\nAnswer:"},
           {"no_answer_probability", false},
           {"chat", false},
           {"encoder", ""},
           {"max_tokens", 32},
           {"batch", 16}},
          [](nlohmann::json p) -> std::unique_ptr<Task> {
            return std::make_unique<SquadTask>(std::move(p));
          }};
}

}  // namespace lathe
