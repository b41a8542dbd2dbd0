// Tasks made from task files: generation, log-likelihood of options, whole documents.
#include <algorithm>
#include <cmath>

#include "lathe/base/parse_json.h"
#include "lathe/eval/data/row_prompts.h"
#include "lathe/eval/metrics/python_text.h"
#include "lathe/eval/tasks/generation_task.h"
#include "lathe/eval/tasks/prompt.h"
#include "lathe/eval/tasks/window_loss.h"
#include "lathe/generate/options.h"

namespace lathe {
namespace {

using Kind = MetricDef::Kind;
using Spec = std::shared_ptr<const TaskSpec>;

PromptOptions prompt_options(const nlohmann::json& parameters) {
  PromptOptions out;
  out.data = member_or(parameters, "data", "");
  out.shots_data = member_or(parameters, "shots_data", "");
  out.prompt = member_or(parameters, "prompt", "");
  out.limit = member_or(parameters, "limit", int64_t{0});
  out.shots = member_or(parameters, "shots", int64_t{0});
  out.chat = member_or(parameters, "chat", false);
  return out;
}

nlohmann::json extra_of(const TaskSpec& spec, const nlohmann::json& parameters) {
  nlohmann::json extra = {{"task_version", spec.version}};
  if (parameters.contains("shots")) extra["shots"] = parameters["shots"];
  if (member_or(parameters, "chat", false)) extra["chat"] = true;
  return extra;
}

void add_spec(const TaskSpec& spec, const std::string& path, Preflight& preflight) {
  preflight.set("task_version", spec.version);
  preflight.set("task_hash", spec.hash);
  preflight.set("data", path);
}

class DataGeneration : public GenerationTask {
 public:
  DataGeneration(Spec spec, nlohmann::json parameters)
      : GenerationTask(spec->name, std::move(parameters)), spec_(std::move(spec)) {}

  nlohmann::json extra() const override { return extra_of(*spec_, parameters()); }
  std::string definition() const override { return spec_->hash; }
  std::vector<std::string> input_files() const override {
    return prompt_files(*spec_, prompt_options(parameters()));
  }

 protected:
  std::vector<MetricDef> scored_metrics() const override {
    std::vector<MetricDef> out;
    for (const auto& metric : spec_->text_metrics) {
      if (!metric.metric.encoder.empty()) continue;
      out.insert(out.end(), metric.metric.rows.begin(), metric.metric.rows.end());
    }
    return out;
  }

  // The parameter goes before what the task file says.
  std::string encoder() const override {
    if (std::string given = text("encoder"); !given.empty()) return given;
    for (const auto& metric : spec_->text_metrics) {
      if (!metric.metric.encoder.empty()) return metric.metric.encoder;
    }
    return "";
  }

  std::map<std::string, std::string> compared(const std::string& generated) const override {
    std::map<std::string, std::string> out;
    for (const auto& metric : spec_->text_metrics) {
      if (metric.metric.encoder.empty()) continue;
      out[metric.metric.rows[0].name] = answer_for(metric, generated);
    }
    return out.empty() ? GenerationTask::compared(generated) : out;
  }

  Result<std::vector<Item>> load() const override {
    LATHE_TRY(const auto rows, prompt_rows(*spec_, prompt_options(parameters()), &path_));
    std::vector<Item> items;
    for (const PromptedRow& row : rows) {
      items.push_back({row.id, row.contexts[0], row.references, row.prompt});
    }
    return items;
  }

  std::vector<std::string> stops() const override { return spec_->stops; }
  void add_facts(Preflight& preflight) const override { add_spec(*spec_, path_, preflight); }

  Sample score(const Item& item, const std::string& generated) const override {
    const auto references = item.gold.get<std::vector<std::string>>();
    Sample sample;
    for (const auto& metric : spec_->text_metrics) {
      if (!metric.metric.score) continue;
      metric.metric.score(references, answer_for(metric, generated), sample.scores);
    }
    return sample;
  }

 private:
  std::string answer_for(const TaskSpec::Metric& metric, const std::string& generated) const {
    for (const auto& [name, filter] : spec_->filters) {
      if (name == metric.filter) return filter.apply(generated);
    }
    return encode_utf8(python_strip(decode_utf8(generated)));
  }

  Spec spec_;
  mutable std::string path_;
};

// Multiple choice and single continuations.
class DataLikelihood : public Task {
 public:
  DataLikelihood(Spec spec, nlohmann::json parameters)
      : spec_(std::move(spec)), parameters_(std::move(parameters)) {}

  std::string name() const override { return spec_->name; }
  nlohmann::json parameters() const override { return parameters_; }
  nlohmann::json extra() const override { return extra_of(*spec_, parameters_); }
  nlohmann::json preflight() const override { return preflight_; }
  int64_t sample_count() const override { return std::ssize(rows_); }
  std::string definition() const override { return spec_->hash; }
  std::vector<std::string> input_files() const override {
    return prompt_files(*spec_, prompt_options(parameters_));
  }

  std::vector<MetricDef> metrics() const override {
    std::vector<MetricDef> out;
    for (const std::string& name : spec_->score_metrics) {
      if (name == "ppl") {
        out.push_back({"ppl", Kind::kExpRatio, "nll", "targets", 1, "", "lower", 0.001});
      } else {
        out.push_back({name, Kind::kMean, name, "", 100, "%", "higher"});
      }
    }
    return out;
  }

  Status prepare(const Engine& engine) override {
    const PromptOptions how = prompt_options(parameters_);
    const std::string where = fmt::format("task '{}'", name());
    std::string path;
    LATHE_TRY_IN(rows_, prompt_rows(*spec_, how, &path), where);
    Preflight preflight(engine, how.chat);
    requests_.clear();
    for (const PromptedRow& row : rows_) {
      requests_.emplace_back();
      LATHE_OK_IN(add_requests(engine, row, how.chat, preflight),
                  fmt::format("{}: row {}", where, row.id));
    }
    add_spec(*spec_, path, preflight);
    preflight_ = preflight.report();
    return {};
  }

  Status run(const Engine& engine, const std::set<std::string>& done,
             const SampleSink& sink) override {
    std::vector<size_t> row_of;  // of each request
    std::vector<OptionRequest> waiting;
    for (size_t r = 0; r < rows_.size(); ++r) {
      if (done.count(rows_[r].id)) continue;
      for (const OptionRequest& request : requests_[r]) {
        waiting.push_back(request);
        row_of.push_back(r);
      }
    }
    ScoreOptions options;
    options.max_batch = parameters_["batch"].get<int64_t>();
    std::vector<OptionScore> gathered;
    Status written;
    LATHE_OK(score_options(engine, waiting, options, [&](size_t i, const auto& scores) {
      gathered.insert(gathered.end(), scores.begin(), scores.end());
      if (i + 1 < row_of.size() && row_of[i + 1] == row_of[i]) return true;
      written = sink(sample_of(rows_[row_of[i]], gathered));
      gathered.clear();
      return written.ok();
    }));
    return written;
  }

 private:
  // One request with all options; where each option has its own context, a request for each.
  Status add_requests(const Engine& engine, const PromptedRow& row, bool chat,
                      Preflight& preflight) {
    std::vector<OptionRequest>& out = requests_.back();
    for (const std::string& text : row.contexts) {
      std::string context = text;
      if (chat) {
        LATHE_TRY(context, chat_prompt(*engine.tokenizer, text));
      }
      OptionRequest request;
      int64_t longest = 1;
      for (const std::string& continuation : row.continuations) {
        LATHE_TRY(auto pair, encode_pair(*engine.tokenizer, context, continuation, !chat));
        request.context = std::move(pair.first);
        longest = std::max(longest, std::ssize(pair.second));
        request.options.push_back(std::move(pair.second));
      }
      // As lm-evaluation-harness: the beginning is dropped, BOS included.
      const int64_t most = engine.model->context - longest + 1;
      if (most < 1) {
        return bad_input("an option of {} tokens does not fit the context of {}", longest,
                         engine.model->context);
      }
      const int64_t over = std::ssize(request.context) - most;
      if (over > 0) request.context.erase(request.context.begin(), request.context.begin() + over);
      preflight.prompt(request.context, over > 0);
      out.push_back(std::move(request));
    }
    return {};
  }

  Sample sample_of(const PromptedRow& row, const std::vector<OptionScore>& scores) const {
    Sample sample;
    sample.id = row.id;
    sample.detail["prompt"] = row.contexts[0];
    if (spec_->output == TaskOutput::kLoglikelihood) {
      sample.scores = {{"acc", scores[0].greedy ? 1.0 : 0.0},
                       {"nll", -scores[0].log_likelihood},
                       {"targets", 1}};
      sample.detail["gold"] = row.options[0];
      return sample;
    }
    const auto& names = row.contexts.size() > 1 ? row.contexts : row.options;
    std::vector<double> by_sum, by_characters, by_bytes;
    for (size_t i = 0; i < scores.size(); ++i) {
      const double ll = scores[i].log_likelihood;
      by_sum.push_back(ll);
      by_characters.push_back(ll / static_cast<double>(decode_utf8(names[i]).size()));
      by_bytes.push_back(ll / static_cast<double>(names[i].size()));
    }
    const auto best = [](const std::vector<double>& v) {
      return std::max_element(v.begin(), v.end()) - v.begin();
    };
    const auto right = [&](const std::vector<double>& v) {
      return best(v) == row.answer ? 1.0 : 0.0;
    };
    sample.scores = {
        {"acc", right(by_sum)}, {"acc_norm", right(by_characters)}, {"acc_bytes", right(by_bytes)}};
    sample.detail["prediction"] = names[static_cast<size_t>(best(by_sum))];
    sample.detail["gold"] = names[static_cast<size_t>(row.answer)];
    sample.detail["log_likelihoods"] = by_sum;
    return sample;
  }

  Spec spec_;
  nlohmann::json parameters_, preflight_;
  std::vector<PromptedRow> rows_;
  std::vector<std::vector<OptionRequest>> requests_;  // per row
};

// Perplexity of whole documents, in lm-evaluation-harness's convention.
class DataRolling : public Task {
 public:
  DataRolling(Spec spec, nlohmann::json parameters)
      : spec_(std::move(spec)), parameters_(std::move(parameters)) {}

  std::string name() const override { return spec_->name; }
  nlohmann::json parameters() const override { return parameters_; }
  nlohmann::json preflight() const override { return preflight_; }
  int64_t sample_count() const override { return std::ssize(rows_); }
  std::string definition() const override { return spec_->hash; }
  std::vector<std::string> input_files() const override {
    return prompt_files(*spec_, prompt_options(parameters_));
  }

  nlohmann::json extra() const override {
    nlohmann::json extra = extra_of(*spec_, parameters_);
    extra["convention"] = "lm-eval";
    return extra;
  }

  std::vector<MetricDef> metrics() const override {
    std::vector<MetricDef> out;
    for (const std::string& name : spec_->score_metrics) {
      if (name == "bits_per_byte") {
        out.push_back(
            {name, Kind::kRatio, "nll", "bytes", 1 / std::log(2.0), "bits", "lower", 0.0005});
        continue;
      }
      const char* per = name == "word_ppl" ? "words" : name == "byte_ppl" ? "bytes" : "tokens";
      out.push_back({name, Kind::kExpRatio, "nll", per, 1, "", "lower", 0.001});
    }
    return out;
  }

  Status prepare(const Engine& engine) override {
    const std::string where = fmt::format("task '{}'", name());
    std::string path;
    LATHE_TRY_IN(rows_, prompt_rows(*spec_, prompt_options(parameters_), &path), where);
    Preflight preflight(engine, false);
    tokens_.clear();
    for (const PromptedRow& row : rows_) {
      tokens_.push_back(engine.tokenizer->encode(row.contexts[0],
                                                 {.add_special = false, .parse_special = false}));
      preflight.prompt(tokens_.back(), false);
    }
    add_spec(*spec_, path, preflight);
    preflight_ = preflight.report();
    return {};
  }

  Status run(const Engine& engine, const std::set<std::string>& done,
             const SampleSink& sink) override {
    const PerplexityPlan plan{PerplexityConvention::kLmEval, engine.model->context};
    for (size_t r = 0; r < rows_.size(); ++r) {
      if (done.count(rows_[r].id)) continue;
      LATHE_TRY(const auto windows, plan_windows(std::ssize(tokens_[r]), plan));
      LossTotals totals;
      for (const TokenWindow& window : windows) {
        LATHE_TRY(const double loss, window_loss(engine, tokens_[r], window));
        totals.add(window, loss);
      }
      if (totals.tokens == 0) continue;  // an empty document
      Sample sample;
      sample.id = rows_[r].id;
      const std::string& text = rows_[r].contexts[0];
      sample.scores = {{"nll", totals.loss},
                       {"tokens", static_cast<double>(totals.tokens)},
                       {"words", static_cast<double>(lm_eval_word_count(text))},
                       {"bytes", static_cast<double>(text.size())}};
      LATHE_OK(sink(std::move(sample)));
    }
    return {};
  }

 private:
  Spec spec_;
  nlohmann::json parameters_, preflight_;
  std::vector<PromptedRow> rows_;
  std::vector<std::vector<TokenId>> tokens_;
};

}  // namespace

TaskKind data_task_kind(std::shared_ptr<const TaskSpec> spec) {
  TaskKind kind;
  kind.name = spec->name;
  kind.description = spec->description;
  kind.defaults = {{"data", ""}, {"limit", 0}, {"prompt", ""}};
  if (spec->output != TaskOutput::kRolling) {
    kind.defaults["chat"] = false;
    kind.defaults["batch"] = spec->output == TaskOutput::kGenerate ? 16 : 32;
    if (spec->contexts_expression.empty()) {
      kind.defaults["shots"] = spec->shots;
      kind.defaults["shots_data"] = "";
    }
  }
  if (spec->output == TaskOutput::kGenerate) {
    kind.defaults["max_tokens"] = spec->max_tokens;
    kind.defaults["encoder"] = "";
  }
  kind.create = [spec](nlohmann::json parameters) -> std::unique_ptr<Task> {
    if (spec->output == TaskOutput::kGenerate) {
      return std::make_unique<DataGeneration>(spec, std::move(parameters));
    }
    if (spec->output == TaskOutput::kRolling) {
      return std::make_unique<DataRolling>(spec, std::move(parameters));
    }
    return std::make_unique<DataLikelihood>(spec, std::move(parameters));
  };
  return kind;
}

}  // namespace lathe
