#include "lathe/eval/metrics/gsm8k.h"

#include <optional>

#include "lathe/eval/metrics/python_text.h"

namespace lathe {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_number_char(char c) { return is_digit(c) || c == '.' || c == ','; }
bool is_flexible_char(char c) { return is_number_char(c) || c == '$'; }

template <typename Predicate>
size_t run_end(std::string_view text, size_t from, Predicate in_run) {
  while (from < text.size() && in_run(text[from])) ++from;
  return from;
}

// The end of `-?[0-9.,]+` at `from`, or nothing.
std::optional<size_t> number_end(std::string_view text, size_t from) {
  const size_t digits = from + (from < text.size() && text[from] == '-' ? 1 : 0);
  const size_t end = run_end(text, digits, is_number_char);
  if (end == digits) return std::nullopt;
  return end;
}

std::string extract_strict(std::string_view text) {
  constexpr std::string_view kMark = "#### ";
  for (size_t at = text.find(kMark); at != text.npos; at = text.find(kMark, at + 1)) {
    const size_t begin = at + kMark.size();
    if (const auto end = number_end(text, begin))
      return std::string(text.substr(begin, *end - begin));
  }
  return std::string(kGsm8kInvalid);
}

std::string extract_strict_cot(std::string_view text) {
  constexpr std::string_view kMark = "The answer is ";
  for (size_t at = text.find(kMark); at != text.npos; at = text.find(kMark, at + 1)) {
    const size_t begin = at + kMark.size();
    auto end = number_end(text, begin);
    if (!end) continue;
    // One more character must follow. At the end of the text, or of the line, the number gives its
    // last character back to it, which must leave at least one.
    if (*end == text.size() || text[*end] == '\n') {
      --*end;
      if (!number_end(text.substr(0, *end), begin)) continue;
    }
    return std::string(text.substr(begin, *end - begin));
  }
  return std::string(kGsm8kInvalid);
}

std::string extract_flexible(std::string_view text) {
  std::string_view last = kGsm8kInvalid;
  for (size_t at = 0; at < text.size();) {
    const size_t body = at + (text[at] == '-' ? 1 : 0);
    size_t end = run_end(text, body, is_flexible_char);
    if (end - body < 2) {
      // The second alternative; of one character, it is a digit.
      end = run_end(text, body, is_digit);
      if (end == body) {
        ++at;
        continue;
      }
    }
    last = text.substr(at, end - at);
    at = end;
  }
  return std::string(last);
}

}  // namespace

std::string gsm8k_extract(std::string_view generation, Gsm8kExtraction how) {
  switch (how) {
    case Gsm8kExtraction::kStrict:
      return extract_strict(generation);
    case Gsm8kExtraction::kStrictCot:
      return extract_strict_cot(generation);
    case Gsm8kExtraction::kFlexible:
      break;
  }
  return extract_flexible(generation);
}

std::string gsm8k_normalize(std::string_view text) {
  std::string kept;
  kept.reserve(text.size());
  for (const char c : text) {
    if (c != ',' && c != '$') kept.push_back(c);
  }
  constexpr std::string_view kMark = "#### ";
  if (const size_t mark = kept.rfind(kMark); mark != kept.npos) kept.erase(0, mark + kMark.size());
  if (kept.ends_with(".\n")) {
    kept.erase(kept.size() - 2, 1);
  } else if (kept.ends_with('.')) {
    kept.pop_back();
  }
  return encode_utf8(python_lower(decode_utf8(kept)));
}

bool gsm8k_match(std::string_view gold, std::string_view generation, Gsm8kExtraction how) {
  return gsm8k_normalize(gsm8k_extract(generation, how)) == gsm8k_normalize(gold);
}

std::string gsm8k_gold(std::string_view answer) { return gsm8k_normalize(answer); }

}  // namespace lathe
