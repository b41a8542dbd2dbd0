// Perplexity in every convention at once, so that a published figure can be told from its
// neighbours: each convention with the settings that it is usually published with.
#include <algorithm>

#include "lathe/eval/task.h"
#include "lathe/eval/tasks/list.h"

namespace lathe {
namespace {

struct Convention {
  const char* name;
  int64_t window, stride;  // 0: the model's whole context
};
constexpr Convention kConventions[] = {
    {"papers", 2048, 0}, {"hf-stride", 1024, 512}, {"llama.cpp", 512, 0}, {"lm-eval", 2048, 0}};

class RosettaTask : public Task {
 public:
  explicit RosettaTask(nlohmann::json parameters) : parameters_(std::move(parameters)) {
    make_parts(INT64_MAX);
  }

  std::string name() const override { return "rosetta"; }
  nlohmann::json parameters() const override { return parameters_; }
  nlohmann::json preflight() const override { return preflight_; }

  int64_t sample_count() const override {
    int64_t count = 0;
    for (const Part& part : parts_) count += part.task->sample_count();
    return count;
  }

  std::vector<std::string> input_files() const override { return parts_[0].task->input_files(); }

  std::vector<MetricDef> metrics() const override {
    std::vector<MetricDef> out;
    for (const Part& part : parts_) {
      for (MetricDef metric : part.task->metrics()) {
        metric.numerator = part.prefix + metric.numerator;
        metric.denominator = part.prefix + metric.denominator;
        metric.extra = part.task->extra();
        out.push_back(std::move(metric));
      }
    }
    return out;
  }

  Status prepare(const Engine& engine) override {
    make_parts(engine.model->context);
    preflight_ = nlohmann::json::object();
    nlohmann::json warnings = nlohmann::json::array();
    for (const Part& part : parts_) {
      LATHE_OK_IN(part.task->prepare(engine), part.prefix + "perplexity");
      const nlohmann::json facts = part.task->preflight();
      for (const auto& warning : facts["warnings"]) {
        if (std::find(warnings.begin(), warnings.end(), warning) == warnings.end()) {
          warnings.push_back(warning);
        }
      }
      preflight_.update(facts);
    }
    for (const Convention& c : kConventions) {
      if (c.window > engine.model->context) {
        warnings.push_back(fmt::format("{}: the usual window of {} is cut to the context of {}",
                                       c.name, c.window, engine.model->context));
      }
    }
    preflight_["warnings"] = warnings;
    preflight_["samples"] = sample_count();
    return {};
  }

  Status run(const Engine& engine, const std::set<std::string>& done,
             const SampleSink& sink) override {
    for (const Part& part : parts_) {
      std::set<std::string> ours;
      for (const std::string& id : done) {
        if (id.starts_with(part.prefix)) ours.insert(id.substr(part.prefix.size()));
      }
      LATHE_OK(part.task->run(engine, ours, [&](Sample sample) -> Status {
        sample.id = part.prefix + sample.id;
        std::map<std::string, double> scores;
        for (const auto& [field, value] : sample.scores) scores[part.prefix + field] = value;
        sample.scores = std::move(scores);
        return sink(std::move(sample));
      }));
    }
    return {};
  }

 private:
  struct Part {
    std::string prefix;  // of sample ids and score fields
    std::unique_ptr<Task> task;
  };

  void make_parts(int64_t context) {
    parts_.clear();
    const TaskKind kind = perplexity_task();
    for (const Convention& c : kConventions) {
      nlohmann::json parameters = kind.defaults;
      parameters["data"] = parameters_["data"];
      parameters["limit"] = parameters_["limit"];
      parameters["convention"] = c.name;
      parameters["window"] = std::min(c.window, context);
      if (c.stride > 0)
        parameters["stride"] = std::min(c.stride, std::max<int64_t>(1, context / 2));
      if (std::string(c.name) == "lm-eval") parameters["documents"] = parameters_["documents"];
      parts_.push_back({std::string(c.name) + "/", kind.create(std::move(parameters))});
    }
  }

  nlohmann::json parameters_, preflight_;
  std::vector<Part> parts_;
};

}  // namespace

TaskKind rosetta_task() {
  return {"rosetta",
          "perplexity in all conventions with their usual settings; --match names the nearest one",
          {{"data", "bundled"}, {"documents", "file"}, {"limit", 0}},
          [](nlohmann::json p) -> std::unique_ptr<Task> {
            return std::make_unique<RosettaTask>(std::move(p));
          }};
}

}  // namespace lathe
