// What tasks that score generated text share: prompts in, batched greedy generation, one scored
// sample out; and the coherence of answers with their prompts, where the parameter `encoder` (or a
// task file) asks for it.
#pragma once

#include "lathe/eval/preflight.h"
#include "lathe/eval/task.h"
#include "lathe/generate/generator.h"

namespace lathe {

class GenerationTask : public Task {
 public:
  GenerationTask(std::string name, nlohmann::json parameters)
      : name_(std::move(name)), parameters_(std::move(parameters)) {}

  std::string name() const override { return name_; }
  nlohmann::json parameters() const override { return parameters_; }
  int64_t sample_count() const override { return static_cast<int64_t>(items_.size()); }
  std::vector<MetricDef> metrics() const final;
  std::vector<std::string> judge_files() const override;
  Status judge(std::span<Sample> samples, Ops& ops, nlohmann::json& preflight) const override;
  Status prepare(const Engine& engine) override;
  nlohmann::json preflight() const override { return preflight_; }
  Status run(const Engine& engine, const std::set<std::string>& done,
             const SampleSink& sink) override;

 protected:
  struct Item {
    std::string id, prompt;
    nlohmann::json gold;
    // Of the row alone, without examples and what else stands before it; empty where that is
    // `prompt`.
    std::string own_prompt = {};
    Request request = {};  // filled by prepare()
  };
  // Reads the data: id, prompt and gold of each item.
  virtual Result<std::vector<Item>> load() const = 0;
  virtual std::vector<std::string> stops() const = 0;
  virtual Sample score(const Item& item, const std::string& generated) const = 0;
  virtual void add_facts(Preflight&) const {}
  // The rows of what score() gives.
  virtual std::vector<MetricDef> scored_metrics() const = 0;
  // The encoder that coherence takes, as find_encoder() wants it; empty: no coherence.
  virtual std::string encoder() const { return text("encoder"); }
  // The texts whose coherence with the prompt is wanted, by the name of the row. Asked of an
  // encoder only.
  virtual std::map<std::string, std::string> compared(const std::string& generated) const {
    return {{"coherence", generated}};
  }

  const std::vector<Item>& items() const { return items_; }
  std::string text(const char* key) const { return parameters_[key].get<std::string>(); }
  int64_t integer(const char* key) const { return parameters_[key].get<int64_t>(); }

 private:
  Status check_encoder(Preflight& preflight) const;
  // Whether the prompt had to be cut.
  Result<bool> encode(const Engine& engine, Item& item) const;

  std::string name_;
  nlohmann::json parameters_, preflight_;
  std::vector<Item> items_;
};

// Replaces {key} by value, once for each occurrence; other braces stay.
std::string fill_template(const std::string& text,
                          const std::map<std::string, std::string>& values);

}  // namespace lathe
