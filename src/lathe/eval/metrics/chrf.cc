#include "lathe/eval/metrics/chrf.h"

#include <algorithm>
#include <unordered_map>

#include "lathe/base/check.h"
#include "lathe/eval/metrics/python_text.h"

namespace lathe {
namespace {

using Counts = std::unordered_map<std::u32string, int64_t>;

Counts count_char_ngrams(std::u32string_view text, size_t n) {
  Counts counts;
  for (size_t i = 0; i + n <= text.size(); ++i) ++counts[std::u32string(text.substr(i, n))];
  return counts;
}

Counts count_word_ngrams(std::span<const std::u32string_view> words, size_t n) {
  Counts counts;
  for (size_t i = 0; i + n <= words.size(); ++i) {
    std::u32string ngram(words[i]);
    for (size_t j = 1; j < n; ++j) {
      ngram.push_back(' ');
      ngram.append(words[i + j]);
    }
    ++counts[std::move(ngram)];
  }
  return counts;
}

// One punctuation mark is split off each word of two characters or more: the last if it is one,
// else the first.
std::vector<std::u32string_view> words_of(std::u32string_view text) {
  std::vector<std::u32string_view> words;
  for (const auto word : python_split(text)) {
    if (word.size() > 1 && is_ascii_punctuation(word.back())) {
      words.push_back(word.substr(0, word.size() - 1));
      words.push_back(word.substr(word.size() - 1));
    } else if (word.size() > 1 && is_ascii_punctuation(word.front())) {
      words.push_back(word.substr(0, 1));
      words.push_back(word.substr(1));
    } else {
      words.push_back(word);
    }
  }
  return words;
}

std::vector<Counts> all_ngrams(std::string_view utf8, const ChrfOptions& options) {
  const std::u32string text = decode_utf8(utf8);
  std::u32string dense = text;
  std::erase_if(dense, is_python_space);
  std::vector<Counts> counts;
  for (int n = 1; n <= options.char_order; ++n) {
    counts.push_back(count_char_ngrams(dense, static_cast<size_t>(n)));
  }
  if (options.word_order > 0) {
    const auto words = words_of(text);
    for (int n = 1; n <= options.word_order; ++n) {
      counts.push_back(count_word_ngrams(words, static_cast<size_t>(n)));
    }
  }
  return counts;
}

ChrfStats::Counts compare(const Counts& candidate, const Counts& reference) {
  ChrfStats::Counts c;
  for (const auto& [ngram, count] : candidate) {
    c.candidate += count;
    if (const auto it = reference.find(ngram); it != reference.end()) {
      c.matches += std::min(count, it->second);
    }
  }
  for (const auto& [ngram, count] : reference) c.reference += count;
  // Where the reference is too short for an order, the candidate is not blamed for having it.
  if (c.reference == 0) c.candidate = 0;
  return c;
}

}  // namespace

ChrfStats& ChrfStats::operator+=(const ChrfStats& other) {
  if (orders.empty()) orders.resize(other.orders.size());
  LATHE_CHECK(orders.size() == other.orders.size());
  for (size_t i = 0; i < orders.size(); ++i) {
    orders[i].candidate += other.orders[i].candidate;
    orders[i].reference += other.orders[i].reference;
    orders[i].matches += other.orders[i].matches;
  }
  return *this;
}

ChrfStats chrf_stats(std::string_view candidate, std::span<const std::string> references,
                     const ChrfOptions& options) {
  LATHE_CHECK(!references.empty() && options.char_order >= 1 && options.word_order >= 0);
  const auto ngrams = all_ngrams(candidate, options);
  ChrfStats best;
  double best_score = -1;
  for (const std::string& reference : references) {
    const auto reference_ngrams = all_ngrams(reference, options);
    ChrfStats stats;
    for (size_t i = 0; i < ngrams.size(); ++i) {
      stats.orders.push_back(compare(ngrams[i], reference_ngrams[i]));
    }
    const double score = chrf_score(stats, options);
    if (score > best_score) {
      best_score = score;
      best = std::move(stats);
    }
  }
  return best;
}

double chrf_score(const ChrfStats& stats, const ChrfOptions& options) {
  double precision = 0, recall = 0;
  int effective_orders = 0;
  for (const auto& c : stats.orders) {
    if (c.candidate == 0 || c.reference == 0) continue;
    precision += static_cast<double>(c.matches) / static_cast<double>(c.candidate);
    recall += static_cast<double>(c.matches) / static_cast<double>(c.reference);
    ++effective_orders;
  }
  if (effective_orders == 0) return 0;
  precision /= effective_orders;
  recall /= effective_orders;
  if (precision + recall == 0) return 0;
  const double factor = options.beta * options.beta;
  return 100 * ((1 + factor) * precision * recall / (factor * precision + recall));
}

double chrf_of_sample(std::span<const ChrfStats> segments, std::span<const int64_t> indices,
                      const ChrfOptions& options) {
  ChrfStats sum;
  for (const int64_t i : indices) sum += segments[static_cast<size_t>(i)];
  return chrf_score(sum, options);
}

}  // namespace lathe
