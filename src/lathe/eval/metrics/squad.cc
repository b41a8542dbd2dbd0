#include "lathe/eval/metrics/squad.h"

#include <algorithm>
#include <numeric>
#include <unordered_map>

#include "lathe/eval/metrics/python_text.h"

namespace lathe {
namespace {

constexpr std::string_view kNoAnswerPhrases[] = {"unanswerable", "no answer", "na"};

bool is_article(std::u32string_view word) {
  return word == U"a" || word == U"an" || word == U"the";
}

std::u32string normalize(std::string_view text) {
  std::u32string kept = python_lower(decode_utf8(text));
  std::erase_if(kept, is_ascii_punctuation);

  std::u32string spaced;
  spaced.reserve(kept.size());
  for (size_t i = 0; i < kept.size();) {
    if (!is_python_word(kept[i])) {
      spaced.push_back(kept[i++]);
      continue;
    }
    const size_t begin = i;
    while (i < kept.size() && is_python_word(kept[i])) ++i;
    const auto word = std::u32string_view(kept).substr(begin, i - begin);
    if (is_article(word)) {
      spaced.push_back(' ');
    } else {
      spaced.append(word);
    }
  }

  std::u32string out;
  out.reserve(spaced.size());
  for (const auto piece : python_split(spaced)) {
    if (!out.empty()) out.push_back(' ');
    out.append(piece);
  }
  return out;
}

double f1_of_normalized(std::u32string_view gold, std::u32string_view prediction) {
  const auto gold_tokens = python_split(gold);
  const auto predicted_tokens = python_split(prediction);
  if (gold_tokens.empty() || predicted_tokens.empty()) {
    return gold_tokens.empty() && predicted_tokens.empty() ? 1.0 : 0.0;
  }
  std::unordered_map<std::u32string_view, int64_t> left;
  for (const auto token : gold_tokens) ++left[token];
  int64_t common = 0;
  for (const auto token : predicted_tokens) {
    const auto it = left.find(token);
    if (it != left.end() && it->second > 0) {
      --it->second;
      ++common;
    }
  }
  if (common == 0) return 0.0;
  const double precision =
      static_cast<double>(common) / static_cast<double>(predicted_tokens.size());
  const double recall = static_cast<double>(common) / static_cast<double>(gold_tokens.size());
  return (2 * precision * recall) / (precision + recall);
}

// The best achievable sum, and its threshold: begin with every question taken as unanswerable, then
// accept predictions in order of rising no-answer probability.
template <typename ScoreOf>
std::pair<double, double> best_threshold(std::span<const SquadSample> samples,
                                         std::span<const size_t> order, ScoreOf score_of) {
  double current = static_cast<double>(
      std::ranges::count_if(samples, [](const SquadSample& s) { return !s.has_answer; }));
  double best = current;
  double threshold = 0.0;
  for (const size_t i : order) {
    const SquadSample& sample = samples[i];
    if (sample.has_answer) {
      current += score_of(sample);
    } else if (sample.predicted_answer) {
      current -= 1;
    }
    if (current > best) {
      best = current;
      threshold = sample.no_answer_probability;
    }
  }
  return {100.0 * best / static_cast<double>(samples.size()), threshold};
}

struct Sum {
  double exact = 0, f1 = 0;
  int64_t n = 0;

  void add(const SquadScore& s) {
    exact += s.exact_match;
    f1 += s.f1;
    ++n;
  }
  double percent(double sum) const { return 100.0 * sum / static_cast<double>(n); }
};

}  // namespace

std::string squad_normalize(std::string_view text) { return encode_utf8(normalize(text)); }

double squad_exact_match(std::string_view gold, std::string_view prediction) {
  return normalize(gold) == normalize(prediction) ? 1.0 : 0.0;
}

double squad_f1(std::string_view gold, std::string_view prediction) {
  return f1_of_normalized(normalize(gold), normalize(prediction));
}

SquadScore squad_score(std::span<const std::string> golds, std::string_view prediction) {
  const std::u32string predicted = normalize(prediction);
  SquadScore best;
  bool any = false;
  for (const std::string& text : golds) {
    const std::u32string gold = normalize(text);
    if (gold.empty()) continue;
    any = true;
    best.exact_match = std::max(best.exact_match, gold == predicted ? 1.0 : 0.0);
    best.f1 = std::max(best.f1, f1_of_normalized(gold, predicted));
  }
  if (!any) best.exact_match = best.f1 = predicted.empty() ? 1.0 : 0.0;
  return best;
}

std::span<const std::string_view> squad_no_answer_phrases() { return kNoAnswerPhrases; }

std::string squad_answer_from_generation(std::string_view text) {
  const std::u32string decoded = decode_utf8(text);
  const std::u32string_view stripped = python_strip(decoded);
  const auto first_line = python_strip(stripped.substr(0, stripped.find_first_of(U"\r\n")));
  std::string answer = encode_utf8(first_line);
  const std::string normalized = squad_normalize(answer);
  if (normalized.empty() || std::ranges::count(kNoAnswerPhrases, normalized) > 0) return "";
  return answer;
}

SquadScore squad_apply_threshold(const SquadSample& sample, double threshold) {
  if (!(sample.no_answer_probability > threshold)) return sample.score;
  const double right = sample.has_answer ? 0.0 : 1.0;
  return {right, right};
}

SquadMetrics squad_aggregate(std::span<const SquadSample> samples, double threshold) {
  SquadMetrics m;
  if (samples.empty()) return m;
  Sum all, has_answer, no_answer;
  for (const SquadSample& sample : samples) {
    const SquadScore score = squad_apply_threshold(sample, threshold);
    all.add(score);
    (sample.has_answer ? has_answer : no_answer).add(score);
  }
  m.n = all.n;
  m.exact_match = all.percent(all.exact);
  m.f1 = all.percent(all.f1);
  m.has_ans_n = has_answer.n;
  if (has_answer.n > 0) {
    m.has_ans_exact = has_answer.percent(has_answer.exact);
    m.has_ans_f1 = has_answer.percent(has_answer.f1);
  }
  m.no_ans_n = no_answer.n;
  if (no_answer.n > 0) {
    m.no_ans_exact = no_answer.percent(no_answer.exact);
    m.no_ans_f1 = no_answer.percent(no_answer.f1);
  }

  std::vector<size_t> order(samples.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::stable_sort(order, {}, [&](size_t i) { return samples[i].no_answer_probability; });
  std::tie(m.sweep.best_exact, m.sweep.best_exact_threshold) =
      best_threshold(samples, order, [](const SquadSample& s) { return s.score.exact_match; });
  std::tie(m.sweep.best_f1, m.sweep.best_f1_threshold) =
      best_threshold(samples, order, [](const SquadSample& s) { return s.score.f1; });
  return m;
}

}  // namespace lathe
