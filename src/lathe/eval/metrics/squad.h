// SQuAD v2: exact match and token F1 over short extractive answers, with questions that have none.
// The arithmetic of the official evaluation script (Rajpurkar et al. 2018, arXiv:1806.03822),
// equal to it in every digit; summation is in sample order. Scores of one sample are in [0, 1],
// aggregates in percent.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace lathe {

// Lower case, ASCII punctuation dropped, the words a/an/the replaced by a space, white space
// collapsed. In this order; a word is a maximal run of what Python's \w matches.
std::string squad_normalize(std::string_view text);

double squad_exact_match(std::string_view gold, std::string_view prediction);  // 0 or 1

// Harmonic mean of precision and recall over the normalized tokens as multisets. If either side has
// no tokens: 1 when both are empty, else 0.
double squad_f1(std::string_view gold, std::string_view prediction);

struct SquadScore {
  double exact_match = 0;
  double f1 = 0;
};

// The best over the golds, each metric for itself. Golds that normalize to nothing are left out; if
// none stays (a question without an answer has none to begin with), the gold is the empty string.
SquadScore squad_score(std::span<const std::string> golds, std::string_view prediction);

// The rule that turns generated text into an answer: its first line, without white space around it;
// and if that normalizes to one of squad_no_answer_phrases(), or to nothing, the empty string,
// which is SQuAD's "no answer". Leading blank lines are skipped: chat models like to begin with
// one.
std::string squad_answer_from_generation(std::string_view text);

// The phrases (normalized) that mean "no answer": "unanswerable", "no answer", "na" (from "N/A").
std::span<const std::string_view> squad_no_answer_phrases();

struct SquadSample {
  SquadScore score;                  // from squad_score
  bool has_answer = false;           // the question has an answer
  bool predicted_answer = false;     // the prediction is not the empty string
  double no_answer_probability = 0;  // the model's; 0 where it has none to give
};

// One pass over the thresholds of no-answer probability: with a threshold t, samples with a
// probability above t are taken to answer "none". Ties go to the lowest threshold.
struct SquadSweep {
  double best_exact = 0, best_exact_threshold = 0;
  double best_f1 = 0, best_f1_threshold = 0;
};

struct SquadMetrics {
  double exact_match = 0, f1 = 0;
  int64_t n = 0;
  // Absent where no question is of that kind.
  std::optional<double> has_ans_exact, has_ans_f1, no_ans_exact, no_ans_f1;
  int64_t has_ans_n = 0, no_ans_n = 0;
  SquadSweep sweep;
};

// The score of a sample once its no-answer probability has been compared with the threshold: above
// it the prediction counts as "none", which is right exactly for questions without an answer.
SquadScore squad_apply_threshold(const SquadSample& sample, double threshold);

// `threshold`: the official default 1.0 never overrides a prediction. The sweep does not use it.
// All zero for no samples.
SquadMetrics squad_aggregate(std::span<const SquadSample> samples, double threshold = 1.0);

}  // namespace lathe
