// Task: a data set, a prompt and metrics. A task turns an engine into samples, each scored on its
// own and written down as it is made; all numbers of a run are then computed from the samples
// alone, so that a resumed run gives the digits of one that was never stopped.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "lathe/base/measurement.h"
#include "lathe/base/sample.h"
#include "lathe/generate/engine.h"

namespace lathe {

// How a metric comes from the samples' scores.
struct MetricDef {
  enum class Kind : uint8_t {
    kMean,      // mean of scores[numerator] over the samples that have it
    kRatio,     // Σ scores[numerator] / Σ scores[denominator]
    kExpRatio,  // exp of that ratio
    kCorpus     // `corpus` of the samples that have all of `fields`: BLEU, chrF, a threshold sweep
  };
  std::string name;
  Kind kind;
  std::string numerator, denominator;
  double factor = 1;  // 100 for percent; applied to the mean or ratio before exp
  std::string unit, better;
  // Differences below this (in the unit of the metric; for kExpRatio in the log) count as "=".
  double margin = 0;
  // kCorpus: the score of the chosen rows; columns[f][row] is fields[f] of a sample. A row may come
  // several times. Where `resampled` is false, the score gets no interval and no comparison.
  std::vector<std::string> fields = {};
  std::function<double(const std::vector<std::vector<double>>& columns,
                       std::span<const int64_t> rows)>
      corpus = {};
  bool resampled = true;
  nlohmann::json extra = nlohmann::json::object();  // put into this metric's row
};

using SampleSink = std::function<Status(Sample)>;

class Task {
 public:
  virtual ~Task() = default;
  virtual std::string name() const = 0;
  virtual nlohmann::json parameters() const = 0;       // all of them, defaults included
  virtual std::vector<MetricDef> metrics() const = 0;  // the headline first
  virtual nlohmann::json extra() const { return nlohmann::json::object(); }  // put into every row

  // Reads the data and builds the prompts. Called once, before run().
  virtual Status prepare(const Engine& engine) = 0;
  virtual int64_t sample_count() const = 0;
  // What the samples are made from beside the model and the parameters: the digest of the task's
  // own definition, and the files of data and examples (those that are there). Known before
  // prepare().
  virtual std::string definition() const { return ""; }
  virtual std::vector<std::string> input_files() const = 0;
  // The files of a model that scores the samples, where there is one.
  virtual std::vector<std::string> judge_files() const { return {}; }
  // What a reader should know before trusting the numbers: tokenizer, BOS, prompt hash,
  // truncations.
  virtual nlohmann::json preflight() const = 0;
  // Runs every sample whose id is not in `done`.
  virtual Status run(const Engine& engine, const std::set<std::string>& done,
                     const SampleSink& sink) = 0;
  // Adds the scores that another model gives to samples that run() made, those of an earlier start
  // among them, and to `preflight`, this task's, what a reader should know of that. Needs no
  // prepare(). Apart from run(), so that the memory of one model does not count as the other's.
  virtual Status judge(std::span<Sample> samples, Ops& ops, nlohmann::json& preflight) const;
};

// One row of the registry.
struct TaskKind {
  std::string name;
  std::string description;
  nlohmann::json defaults;  // parameters and their default values; others are refused
  std::function<std::unique_ptr<Task>(nlohmann::json parameters)> create;
};

const std::vector<TaskKind>& task_kinds();
// `name`: of a kind above, or the path of a task file (docs/tasks.md), which ends in .yaml or .yml.
// `parameters` over the defaults; an unknown key or a value of another type is an error.
Result<std::unique_ptr<Task>> make_task(const std::string& name, const nlohmann::json& parameters);

// The rows of a task from its samples, with bootstrap intervals; with `baseline` (the same samples
// by id) paired deltas and verdicts as well. Samples that the baseline lacks are left out of the
// comparison. Right-or-wrong metrics are compared by McNemar's exact test, all others by the paired
// bootstrap; each verdict stands for itself until holm_correct().
std::vector<Measurement> aggregate(const Task& task, const std::vector<Sample>& samples,
                                   const std::vector<Sample>* baseline, uint64_t seed);

// Corrects the verdicts of a table for the number of comparisons that it makes (Holm): sets p_holm
// of every row with a p-value, and turns "better" and "worse" into "undecided" where the corrected
// p-value no longer decides. The decisive_n of what stays undecided becomes the number of samples
// that would decide it at the level that is left to it. Rows that have a p_holm keep all they have.
void holm_correct(std::span<Measurement* const> rows);

}  // namespace lathe
