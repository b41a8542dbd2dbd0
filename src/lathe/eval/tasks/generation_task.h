// What tasks that score generated text share: prompts in, batched greedy generation, one scored
// sample out.
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
  Status prepare(const Engine& engine) override;
  nlohmann::json preflight() const override { return preflight_; }
  Status run(const Engine& engine, const std::set<std::string>& done,
             const SampleSink& sink) override;

 protected:
  struct Item {
    std::string id, prompt;
    nlohmann::json gold;
    Request request;  // filled by prepare()
  };
  // Reads the data: id, prompt and gold of each item.
  virtual Result<std::vector<Item>> load() const = 0;
  virtual std::vector<std::string> stops() const = 0;
  virtual Sample score(const Item& item, const std::string& generated) const = 0;
  virtual void add_facts(Preflight&) const {}

  const std::vector<Item>& items() const { return items_; }
  std::string text(const char* key) const { return parameters_[key].get<std::string>(); }
  int64_t integer(const char* key) const { return parameters_[key].get<int64_t>(); }

 private:
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
