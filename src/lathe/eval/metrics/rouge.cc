#include "lathe/eval/metrics/rouge.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <unordered_map>

#include "lathe/base/check.h"
#include "lathe/eval/metrics/porter_stemmer.h"
#include "lathe/eval/metrics/python_text.h"

namespace lathe {
namespace {

using Tokens = std::span<const std::string>;

RougeScore score_of(int64_t hits, size_t reference, size_t candidate) {
  const double precision = static_cast<double>(hits) / static_cast<double>(candidate);
  const double recall = static_cast<double>(hits) / static_cast<double>(reference);
  const double sum = precision + recall;
  return {precision, recall, sum > 0 ? 2 * precision * recall / sum : 0.0};
}

// Lengths of longest common subsequences of all prefixes: (rows + 1) × (columns + 1), row-major.
class LcsTable {
 public:
  LcsTable(Tokens reference, Tokens candidate)
      : width_(candidate.size() + 1), lengths_((reference.size() + 1) * width_) {
    for (size_t i = 1; i <= reference.size(); ++i) {
      for (size_t j = 1; j < width_; ++j) {
        at(i, j) = reference[i - 1] == candidate[j - 1] ? at(i - 1, j - 1) + 1
                                                        : std::max(at(i - 1, j), at(i, j - 1));
      }
    }
  }
  int32_t& at(size_t i, size_t j) { return lengths_[i * width_ + j]; }
  int32_t length() const { return lengths_.back(); }

 private:
  size_t width_;
  std::vector<int32_t> lengths_;
};

// Marks the reference tokens of one longest common subsequence. Where several exist, ties are
// broken as in rouge-score (towards the earlier reference token), since the union depends on it.
void mark_lcs(Tokens reference, Tokens candidate, std::vector<bool>& marked) {
  LcsTable table(reference, candidate);
  size_t i = reference.size(), j = candidate.size();
  while (i > 0 && j > 0) {
    if (reference[i - 1] == candidate[j - 1]) {
      marked[i - 1] = true;
      --i;
      --j;
    } else if (table.at(i, j - 1) > table.at(i - 1, j)) {
      --j;
    } else {
      --i;
    }
  }
}

struct Sentences {
  std::vector<std::vector<std::string>> tokens;
  std::unordered_map<std::string, int64_t> counts;
  size_t total = 0;
};

Sentences split_sentences(std::string_view text, RougeOptions options) {
  Sentences s;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    if (end > begin) {
      s.tokens.push_back(rouge_tokens(text.substr(begin, end - begin), options));
      for (const auto& token : s.tokens.back()) ++s.counts[token];
      s.total += s.tokens.back().size();
    }
    begin = end + 1;
  }
  return s;
}

}  // namespace

std::vector<std::string> rouge_tokens(std::string_view text, RougeOptions options) {
  std::vector<std::string> tokens;
  std::string token;
  const auto finish = [&] {
    if (token.empty()) return;
    tokens.push_back(options.stemmer && token.size() > 3 ? porter_stem(token) : token);
    token.clear();
  };
  for (const char32_t c : python_lower(decode_utf8(text))) {
    if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9')) {
      token.push_back(static_cast<char>(c));
    } else {
      finish();
    }
  }
  finish();
  return tokens;
}

RougeScore rouge_n(Tokens reference, Tokens candidate, int n) {
  LATHE_CHECK(n >= 1);
  const auto order = static_cast<size_t>(n);
  const auto less = [](Tokens a, Tokens b) { return std::ranges::lexicographical_compare(a, b); };
  std::map<Tokens, int64_t, decltype(less)> left(less);
  const auto count = [&](Tokens t) { return t.size() >= order ? t.size() - order + 1 : 0; };
  for (size_t i = 0; i < count(reference); ++i) ++left[reference.subspan(i, order)];
  int64_t hits = 0;
  for (size_t i = 0; i < count(candidate); ++i) {
    const auto it = left.find(candidate.subspan(i, order));
    if (it != left.end() && it->second > 0) {
      --it->second;
      ++hits;
    }
  }
  return score_of(hits, std::max<size_t>(count(reference), 1),
                  std::max<size_t>(count(candidate), 1));
}

RougeScore rouge_l(Tokens reference, Tokens candidate) {
  if (reference.empty() || candidate.empty()) return {};
  return score_of(LcsTable(reference, candidate).length(), reference.size(), candidate.size());
}

RougeScore rouge_lsum(std::string_view reference, std::string_view candidate,
                      RougeOptions options) {
  Sentences ref = split_sentences(reference, options);
  Sentences can = split_sentences(candidate, options);
  if (ref.total == 0 || can.total == 0) return {};
  int64_t hits = 0;
  for (const auto& sentence : ref.tokens) {
    std::vector<bool> marked(sentence.size());
    for (const auto& other : can.tokens) mark_lcs(sentence, other, marked);
    for (size_t i = 0; i < sentence.size(); ++i) {
      if (!marked[i]) continue;
      // A token counts no more often than either text has it.
      int64_t& in_candidate = can.counts[sentence[i]];
      int64_t& in_reference = ref.counts[sentence[i]];
      if (in_candidate > 0 && in_reference > 0) {
        ++hits;
        --in_candidate;
        --in_reference;
      }
    }
  }
  return score_of(hits, ref.total, can.total);
}

RougeScores rouge(std::string_view reference, std::string_view candidate, RougeOptions options) {
  const auto ref = rouge_tokens(reference, options);
  const auto can = rouge_tokens(candidate, options);
  return {rouge_n(ref, can, 1), rouge_n(ref, can, 2), rouge_l(ref, can),
          rouge_lsum(reference, candidate, options)};
}

RougeScores rouge_best(std::span<const std::string> references, std::string_view candidate,
                       RougeOptions options) {
  LATHE_CHECK(!references.empty());
  RougeScores best = rouge(references[0], candidate, options);
  for (const std::string& reference : references.subspan(1)) {
    const RougeScores other = rouge(reference, candidate, options);
    const auto keep = [](RougeScore& a, const RougeScore& b) {
      if (b.f1 > a.f1) a = b;
    };
    keep(best.rouge1, other.rouge1);
    keep(best.rouge2, other.rouge2);
    keep(best.rouge_l, other.rouge_l);
    keep(best.rouge_lsum, other.rouge_lsum);
  }
  return best;
}

}  // namespace lathe
