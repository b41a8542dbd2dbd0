// Analysis: what each matrix of a model loses in each candidate format and sparsity, measured one
// matrix at a time against the unchanged model, with bytes and kernel times. The folder is the
// state: a killed analysis goes on where it was, and the planner (budget_plan.h) reads it.
//
//   analysis.json   what was measured on what: model, data, method, and the matrices
//   rows.jsonl      one SensitivityRow a line, appended as it is made
//   times.jsonl     one KernelTime a line
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "lathe/compress/calibration.h"
#include "lathe/model/checkpoint.h"

namespace lathe {

// "int4:g32", "keep@0.5", "sparse:int4:g64@0.5": a format ("keep": as the source stores it) and a
// sparsity. That of a layout with a pattern is the pattern's own: "sparse24:int8:row" is pruned
// 2:4.
struct Candidate {
  std::string format = "keep";
  double sparsity = 0;
  std::string text() const;
  std::string pattern() const;  // "2:4"; empty: any zeros
  bool operator==(const Candidate&) const = default;
};
Result<Candidate> parse_candidate(const std::string& text);
// Every format that can be written but the naive int4:row, each once: sparse layouts with half of
// the weights pruned.
std::vector<Candidate> default_candidates();

struct AnalysisSpec {
  std::string method = "rtn", prune = "magnitude";  // passes of the registry
  std::vector<Candidate> candidates = default_candidates();
  CalibrationSpec loss;    // the text that loss is measured on
  CalibrationSpec inputs;  // the text that gives the inputs' statistics: output error, gptq, wanda
};

struct SensitivityRow {
  std::string matrix;
  Candidate candidate;
  int64_t bytes = 0;
  double weight_mse = 0, weight_error = 0;  // mean (ŵ − w)²; ‖Ŵ − W‖ / ‖W‖
  // Of the matrix's output on the calibration inputs; of tables and the head: of the logits.
  double output_mse = 0, output_error = 0;  // mean (ŷ − y)²; ‖Ŷ − Y‖ / ‖Y‖
  double cosine = 1;                        // of all outputs together
  // End to end, with this matrix alone changed (loss_meter.h).
  double kl = 0, top1 = 1, ppl_change = 0;
  std::string note;  // what had to be done otherwise than asked
};
nlohmann::json to_json(const SensitivityRow& row);

// Seconds that one token takes in one matrix of this shape. With rows = 0: in everything else in a
// decoding step of the unchanged model (below 0 where a step is faster than its matrices alone).
// With rows = -1: in a step of the model that a recipe gives, whose hash stands for the candidate.
struct KernelTime {
  int64_t rows = 0, cols = 0;
  std::string candidate;
  int threads = 0;
  double seconds = 0;
};

struct Analysis {
  std::string folder;
  nlohmann::json header;
  struct Matrix {
    MatrixInfo info;
    std::string format;  // as the source stores it
    int64_t bytes = 0;
  };
  std::vector<Matrix> matrices;
  int64_t vector_bytes = 0, parameters = 0;  // of the whole model; a tied table counted once
  double base_ppl = 0;
  bool tied = false;
  std::vector<SensitivityRow> rows;
  std::vector<KernelTime> times;

  std::vector<const SensitivityRow*> rows_of(const std::string& matrix) const;
  // Of one token; empty where it was not measured with so many threads. Tables cost nothing.
  std::optional<double> seconds(const Matrix& matrix, const Candidate& candidate,
                                int threads) const;
  std::optional<double> other_seconds(int threads) const;
  std::optional<double> step_seconds(const std::string& recipe_hash, int threads) const;
  // Whether a decoding step multiplies by it: not by tables, unless they are the head as well.
  bool in_a_step(const MatrixInfo& info) const;
  // A candidate as in KernelTime: "keep" is the format that the source has.
  static std::string timed_name(const Matrix& matrix, const Candidate& candidate);
};

struct AnalyzeParts {
  bool loss = true, times = true;
};

// Goes on with what is in `folder`, which must have been made for the same model, data and method;
// candidates may be added. Candidates that a matrix's shape or the method does not support, and
// those that need no less than the source's own format, are left out.
Result<Analysis> analyze(const Checkpoint& source, const AnalysisSpec& spec,
                         const std::string& folder, ThreadPool& pool, const AnalyzeParts& parts);
// What is there, without measuring anything.
Result<Analysis> load_analysis(const std::string& folder);

// The matrix in the candidate's format, as compress() would store it. `stats` of its input where
// the passes need them.
struct CandidateResult {
  WeightMatrix stored;
  double mse = 0, relative_error = 0;
  std::string note;
};
Result<CandidateResult> apply_candidate(const MatrixInfo& info, const WeightMatrix& source,
                                        const Candidate& candidate, const AnalysisSpec& spec,
                                        std::shared_ptr<const LinearStats> stats, ThreadPool& pool);

}  // namespace lathe
