#include "lathe/eval/metrics/text_statistics.h"

#include <cmath>
#include <map>
#include <set>
#include <vector>

#include "lathe/eval/metrics/python_text.h"

namespace lathe {
namespace {

using Words = std::vector<std::u32string_view>;

double distinct(const Words& words, size_t n) {
  if (words.size() < n) return 1;
  std::set<Words> seen;
  const size_t count = words.size() - n + 1;
  for (size_t i = 0; i < count; ++i) {
    const auto begin = words.begin() + static_cast<std::ptrdiff_t>(i);
    seen.insert(Words(begin, begin + static_cast<std::ptrdiff_t>(n)));
  }
  return static_cast<double>(seen.size()) / static_cast<double>(count);
}

}  // namespace

TextStatistics text_statistics(std::string_view text) {
  const std::u32string decoded = decode_utf8(text);
  const Words words = python_split(decoded);
  TextStatistics out;
  out.words = std::ssize(words);
  out.characters = std::ssize(decoded);
  out.distinct_1 = distinct(words, 1);
  out.distinct_2 = distinct(words, 2);
  out.repeated_4 = 1 - distinct(words, 4);
  std::map<std::u32string_view, int64_t> counts;
  for (const auto word : words) ++counts[word];
  for (const auto& [word, count] : counts) {
    const double p = static_cast<double>(count) / static_cast<double>(words.size());
    out.entropy -= p * std::log2(p);
  }
  return out;
}

}  // namespace lathe
