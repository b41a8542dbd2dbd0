#include "lathe/eval/metrics/porter_stemmer.h"

#include <optional>
#include <span>
#include <utility>
#include <vector>

namespace lathe {
namespace {

constexpr std::pair<std::string_view, std::string_view> kIrregular[] = {
    {"sky", "sky"},        {"skies", "sky"},       {"dying", "die"},        {"lying", "lie"},
    {"tying", "tie"},      {"news", "news"},       {"innings", "inning"},   {"inning", "inning"},
    {"outings", "outing"}, {"outing", "outing"},   {"cannings", "canning"}, {"canning", "canning"},
    {"howe", "howe"},      {"proceed", "proceed"}, {"exceed", "exceed"},    {"succeed", "succeed"},
};

bool is_vowel_letter(char c) { return c == 'a' || c == 'e' || c == 'i' || c == 'o' || c == 'u'; }

// Whether each letter is a consonant: not a, e, i, o, u, and not a y that follows a consonant.
std::vector<bool> consonants(std::string_view word) {
  std::vector<bool> flags(word.size());
  for (size_t i = 0; i < word.size(); ++i) {
    flags[i] = word[i] == 'y' ? i == 0 || !flags[i - 1] : !is_vowel_letter(word[i]);
  }
  return flags;
}

bool is_consonant(std::string_view word, size_t at) {
  return consonants(word.substr(0, at + 1))[at];
}

// The paper's m: how often a vowel is followed by a consonant.
int measure(std::string_view stem) {
  const auto flags = consonants(stem);
  int m = 0;
  for (size_t i = 1; i < flags.size(); ++i) m += !flags[i - 1] && flags[i] ? 1 : 0;
  return m;
}

bool contains_vowel(std::string_view stem) {
  for (const bool consonant : consonants(stem)) {
    if (!consonant) return true;
  }
  return false;
}

bool ends_double_consonant(std::string_view word) {
  const size_t n = word.size();
  return n >= 2 && word[n - 1] == word[n - 2] && is_consonant(word, n - 1);
}

// The paper's *o (consonant, vowel, consonant other than w, x, y), or a word of vowel, consonant.
bool ends_cvc(std::string_view word) {
  const auto c = consonants(word);
  const size_t n = word.size();
  if (n == 2) return !c[0] && c[1];
  if (n < 3) return false;
  const char last = word[n - 1];
  return c[n - 3] && !c[n - 2] && c[n - 1] && last != 'w' && last != 'x' && last != 'y';
}

std::string_view without(std::string_view word, size_t suffix) {
  return word.substr(0, word.size() - suffix);
}

std::string joined(std::string_view stem, std::string_view suffix) {
  return std::string(stem) + std::string(suffix);
}

// suffix → replacement, allowed where the measure of what is left exceeds `above`. The first suffix
// that fits decides, whether it is allowed or not.
struct Rule {
  std::string_view suffix, replacement;
};

std::optional<std::string> apply(std::string_view word, std::span<const Rule> rules, int above) {
  for (const Rule& rule : rules) {
    if (!word.ends_with(rule.suffix)) continue;
    const auto stem = without(word, rule.suffix.size());
    if (measure(stem) > above) return joined(stem, rule.replacement);
    return std::string(word);
  }
  return std::nullopt;
}

// Plurals.
std::string step_1a(std::string_view word) {
  if (word.ends_with("ies")) return joined(without(word, 3), word.size() == 4 ? "ie" : "i");
  if (word.ends_with("sses")) return std::string(without(word, 2));
  if (word.ends_with("s") && !word.ends_with("ss")) return std::string(without(word, 1));
  return std::string(word);
}

// What is left after -ed or -ing gets back an e, or loses the second of two consonants.
std::string repair(std::string_view stem) {
  if (stem.ends_with("at") || stem.ends_with("bl") || stem.ends_with("iz")) {
    return joined(stem, "e");
  }
  if (ends_double_consonant(stem)) {
    const char last = stem.back();
    const bool keep = last == 'l' || last == 's' || last == 'z';
    return std::string(keep ? stem : without(stem, 1));
  }
  if (measure(stem) == 1 && ends_cvc(stem)) return joined(stem, "e");
  return std::string(stem);
}

// Past tense and participle.
std::string step_1b(std::string_view word) {
  if (word.ends_with("ied")) return joined(without(word, 3), word.size() == 4 ? "ie" : "i");
  if (word.ends_with("eed")) {
    return std::string(measure(without(word, 3)) > 0 ? without(word, 1) : word);
  }
  for (const std::string_view suffix : {"ed", "ing"}) {
    if (word.ends_with(suffix) && contains_vowel(without(word, suffix.size()))) {
      return repair(without(word, suffix.size()));
    }
  }
  return std::string(word);
}

std::string step_1c(std::string_view word) {
  if (word.ends_with("y") && word.size() > 2 && is_consonant(word, word.size() - 2)) {
    return joined(without(word, 1), "i");
  }
  return std::string(word);
}

std::string step_2(std::string_view word) {
  if (word.ends_with("alli") && measure(without(word, 4)) > 0) return step_2(without(word, 2));
  static constexpr Rule kRules[] = {
      {"ational", "ate"}, {"tional", "tion"}, {"enci", "ence"},   {"anci", "ance"},
      {"izer", "ize"},    {"bli", "ble"},     {"alli", "al"},     {"entli", "ent"},
      {"eli", "e"},       {"ousli", "ous"},   {"ization", "ize"}, {"ation", "ate"},
      {"ator", "ate"},    {"alism", "al"},    {"iveness", "ive"}, {"fulness", "ful"},
      {"ousness", "ous"}, {"aliti", "al"},    {"iviti", "ive"},   {"biliti", "ble"},
      {"fulli", "ful"},
  };
  if (auto done = apply(word, kRules, 0)) return *done;
  // The l counts with the stem, so that "geologi" has one to measure.
  if (word.ends_with("logi") && measure(without(word, 3)) > 0) return std::string(without(word, 1));
  return std::string(word);
}

std::string step_3(std::string_view word) {
  static constexpr Rule kRules[] = {{"icate", "ic"}, {"ative", ""},  {"alize", "al"},
                                    {"iciti", "ic"}, {"ical", "ic"}, {"ful", ""},
                                    {"ness", ""}};
  return apply(word, kRules, 0).value_or(std::string(word));
}

std::string step_4(std::string_view word) {
  static constexpr Rule kBeforeIon[] = {{"al", ""},    {"ance", ""}, {"ence", ""}, {"er", ""},
                                        {"ic", ""},    {"able", ""}, {"ible", ""}, {"ant", ""},
                                        {"ement", ""}, {"ment", ""}, {"ent", ""}};
  static constexpr Rule kAfterIon[] = {{"ou", ""},  {"ism", ""}, {"ate", ""}, {"iti", ""},
                                       {"ous", ""}, {"ive", ""}, {"ize", ""}};
  if (auto done = apply(word, kBeforeIon, 1)) return *done;
  if (word.ends_with("ion")) {
    const auto stem = without(word, 3);
    const bool fits = measure(stem) > 1 && (stem.ends_with("s") || stem.ends_with("t"));
    return std::string(fits ? stem : word);
  }
  return apply(word, kAfterIon, 1).value_or(std::string(word));
}

std::string step_5(std::string word) {
  if (word.ends_with("e")) {
    const auto stem = without(word, 1);
    const int m = measure(stem);
    if (m > 1 || (m == 1 && !ends_cvc(stem))) word.pop_back();
  }
  if (word.ends_with("ll") && measure(without(word, 1)) > 1) word.pop_back();
  return word;
}

}  // namespace

std::string porter_stem(std::string_view word) {
  for (const auto& [form, stem] : kIrregular) {
    if (form == word) return std::string(stem);
  }
  if (word.size() <= 2) return std::string(word);
  return step_5(step_4(step_3(step_2(step_1c(step_1b(step_1a(word)))))));
}

}  // namespace lathe
