#include "lathe/eval/metrics/bleu.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "lathe/base/check.h"
#include "lathe/eval/metrics/python_text.h"

namespace lathe {
namespace {

using Words = std::vector<std::u32string_view>;
using NGram = std::span<const std::u32string_view>;

struct NGramLess {
  bool operator()(NGram a, NGram b) const { return std::ranges::lexicographical_compare(a, b); }
};
using Counts = std::map<NGram, int64_t, NGramLess>;

bool is_digit(char32_t c) { return c >= '0' && c <= '9'; }
bool is_dot_or_comma(char32_t c) { return c == '.' || c == ','; }

// All ASCII punctuation that always stands alone: not the apostrophe, comma, hyphen or full stop.
// The space is among them in the original, which makes no difference.
bool always_alone(char32_t c) {
  return is_ascii_punctuation(c) && c != '\'' && c != ',' && c != '-' && c != '.';
}

void replace_all(std::u32string& text, std::u32string_view from, std::u32string_view to) {
  for (size_t at = text.find(from); at != text.npos; at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
}

// The four substitutions of the original, in its order. Each scans from left to right, and what one
// match has taken is not looked at again, so that of ",,," after a letter only some are split off.
std::u32string isolate_punctuation(const std::u32string& text) {
  std::u32string out;
  out.reserve(text.size() * 2);
  for (const char32_t c : text) {
    if (always_alone(c)) {
      out += {' ', c, ' '};
    } else {
      out.push_back(c);
    }
  }
  return out;
}

template <typename First, typename Second, typename Emit>
std::u32string replace_pairs(const std::u32string& text, First first, Second second, Emit emit) {
  std::u32string out;
  out.reserve(text.size() * 2);
  size_t i = 0;
  while (i < text.size()) {
    if (i + 1 < text.size() && first(text[i]) && second(text[i + 1])) {
      emit(out, text[i], text[i + 1]);
      i += 2;
    } else {
      out.push_back(text[i++]);
    }
  }
  return out;
}

std::u32string tokenize(std::string_view line) {
  const std::u32string decoded = decode_utf8(line);
  std::u32string text(python_rstrip(decoded));
  replace_all(text, U"<skipped>", U"");
  replace_all(text, U"-\n", U"");
  replace_all(text, U"\n", U" ");
  replace_all(text, U"&quot;", U"\"");
  replace_all(text, U"&amp;", U"&");
  replace_all(text, U"&lt;", U"<");
  replace_all(text, U"&gt;", U">");
  text.insert(0, 1, ' ');
  text.push_back(' ');

  const auto not_digit = [](char32_t c) { return !is_digit(c); };
  text = isolate_punctuation(text);
  text = replace_pairs(text, not_digit, is_dot_or_comma,
                       [](std::u32string& out, char32_t a, char32_t b) {
                         out += {a, ' ', b, ' '};
                       });
  text = replace_pairs(text, is_dot_or_comma, not_digit,
                       [](std::u32string& out, char32_t a, char32_t b) {
                         out += {' ', a, ' ', b};
                       });
  text = replace_pairs(
      text, is_digit, [](char32_t c) { return c == '-'; },
      [](std::u32string& out, char32_t a, char32_t b) {
        out += {a, ' ', b, ' '};
      });

  std::u32string out;
  for (const auto word : python_split(text)) {
    if (!out.empty()) out.push_back(' ');
    out.append(word);
  }
  return out;
}

Counts count_ngrams(const Words& words) {
  Counts counts;
  for (size_t n = 1; n <= kBleuOrder; ++n) {
    for (size_t i = 0; i + n <= words.size(); ++i) ++counts[NGram(words).subspan(i, n)];
  }
  return counts;
}

}  // namespace

std::string bleu_tokenize_13a(std::string_view line) { return encode_utf8(tokenize(line)); }

BleuStats& BleuStats::operator+=(const BleuStats& other) {
  candidate_length += other.candidate_length;
  reference_length += other.reference_length;
  for (size_t i = 0; i < kBleuOrder; ++i) {
    matches[i] += other.matches[i];
    totals[i] += other.totals[i];
  }
  return *this;
}

BleuStats bleu_stats(std::string_view candidate, std::span<const std::string> references) {
  LATHE_CHECK(!references.empty());
  const std::u32string candidate_text = tokenize(candidate);
  const Words words = python_split(candidate_text);
  BleuStats stats;
  stats.candidate_length = std::ssize(words);

  // N-grams are views of the texts: the vectors must not move once they have been counted.
  std::vector<std::u32string> texts;
  for (const std::string& reference : references) texts.push_back(tokenize(reference));
  std::vector<Words> reference_words;
  for (const auto& text : texts) reference_words.push_back(python_split(text));

  Counts allowed;
  int64_t nearest = -1;
  for (const Words& reference : reference_words) {
    const int64_t length = std::ssize(reference);
    const int64_t distance = std::abs(length - stats.candidate_length);
    if (nearest < 0 || distance < nearest ||
        (distance == nearest && length < stats.reference_length)) {
      nearest = distance;
      stats.reference_length = length;
    }
    for (const auto& [ngram, count] : count_ngrams(reference)) {
      int64_t& most = allowed[ngram];
      most = std::max(most, count);
    }
  }
  for (const auto& [ngram, count] : count_ngrams(words)) {
    const size_t order = ngram.size() - 1;
    stats.totals[order] += count;
    if (const auto it = allowed.find(ngram); it != allowed.end()) {
      stats.matches[order] += std::min(count, it->second);
    }
  }
  return stats;
}

BleuScore bleu_score(const BleuStats& stats) {
  BleuScore score;
  const auto candidate = static_cast<double>(stats.candidate_length);
  const auto reference = static_cast<double>(stats.reference_length);
  score.brevity_penalty = 1.0;
  if (stats.candidate_length < stats.reference_length) {
    score.brevity_penalty = candidate > 0 ? std::exp(1 - reference / candidate) : 0.0;
  }
  if (std::ranges::all_of(stats.matches, [](int64_t m) { return m == 0; })) return score;

  // Exponential smoothing: the first order without a match counts half a match, the next a quarter.
  double smoothing = 1;
  for (size_t i = 0; i < kBleuOrder && stats.totals[i] > 0; ++i) {
    const auto total = static_cast<double>(stats.totals[i]);
    if (stats.matches[i] == 0) {
      smoothing *= 2;
      score.precisions[i] = 100.0 / (smoothing * total);
    } else {
      score.precisions[i] = 100.0 * static_cast<double>(stats.matches[i]) / total;
    }
  }
  double log_sum = 0;
  for (const double p : score.precisions) {
    if (p == 0) return score;  // segments too short for this order: no geometric mean
    log_sum += std::log(p);
  }
  score.bleu = score.brevity_penalty * std::exp(log_sum / kBleuOrder);
  return score;
}

double bleu_of_sample(std::span<const BleuStats> segments, std::span<const int64_t> indices) {
  BleuStats sum;
  for (const int64_t i : indices) sum += segments[static_cast<size_t>(i)];
  return bleu_score(sum).bleu;
}

}  // namespace lathe
