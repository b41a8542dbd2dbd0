#include "lathe/eval/metrics/python_text.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstdint>

namespace lathe {
namespace {

constexpr char32_t kReplacement = 0xfffd;
constexpr char32_t kCapitalSigma = 0x3a3;
constexpr char32_t kSmallSigma = 0x3c3;
constexpr char32_t kFinalSigma = 0x3c2;
constexpr char32_t kCapitalDottedI = 0x130;
constexpr char32_t kCombiningDotAbove = 0x307;

int category(char32_t c) { return utf8proc_category(static_cast<utf8proc_int32_t>(c)); }

// Bounds of the second byte after a lead byte (Unicode, table 3-7: Well-Formed UTF-8 Byte
// Sequences); all later bytes are 80..BF. `length` is 0 for a byte that cannot lead.
struct LeadByte {
  int length;
  uint8_t second_low, second_high;
};

LeadByte classify_lead(uint8_t b) {
  if (b >= 0xc2 && b <= 0xdf) return {2, 0x80, 0xbf};
  if (b == 0xe0) return {3, 0xa0, 0xbf};
  if (b == 0xed) return {3, 0x80, 0x9f};
  if (b >= 0xe1 && b <= 0xef) return {3, 0x80, 0xbf};
  if (b == 0xf0) return {4, 0x90, 0xbf};
  if (b >= 0xf1 && b <= 0xf3) return {4, 0x80, 0xbf};
  if (b == 0xf4) return {4, 0x80, 0x8f};
  return {0, 0, 0};
}

// Unicode's Case_Ignorable: marks, format characters, modifier letters and symbols, and the
// punctuation that may stand inside of a word.
bool is_case_ignorable(char32_t c) {
  switch (category(c)) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_SK:
      return true;
    default:
      break;
  }
  static constexpr char32_t kInsideWords[] = {
      0x27,   0x2e,   0x3a,   0xb7,   0x387,  0x55f,  0x5f4,  0x2018, 0x2019,
      0x2024, 0x2027, 0xfe13, 0xfe52, 0xfe55, 0xff07, 0xff0e, 0xff1a,
  };
  return std::ranges::binary_search(kInsideWords, c);
}

// Unicode's Cased, without those that are also case-ignorable (no caller meets them).
bool is_cased(char32_t c) {
  switch (category(c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
      return true;
    default:
      break;
  }
  return c == 0xaa || c == 0xba ||          // ordinal indicators
         (c >= 0x2160 && c <= 0x217f) ||    // Roman numerals
         (c >= 0x24b6 && c <= 0x24e9) ||    // circled letters
         (c >= 0x1f130 && c <= 0x1f149) ||  // squared letters
         (c >= 0x1f150 && c <= 0x1f169) ||  // negative circled letters
         (c >= 0x1f170 && c <= 0x1f189);    // negative squared letters
}

// Unicode's Final_Sigma: a cased letter before, none after, looking past what is ignorable.
bool is_final_sigma(std::u32string_view text, size_t at) {
  size_t before = at;
  while (before > 0 && is_case_ignorable(text[before - 1])) --before;
  if (before == 0 || !is_cased(text[before - 1])) return false;
  size_t after = at + 1;
  while (after < text.size() && is_case_ignorable(text[after])) ++after;
  return after == text.size() || !is_cased(text[after]);
}

}  // namespace

std::u32string decode_utf8(std::string_view text) {
  std::u32string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const auto lead = static_cast<uint8_t>(text[i++]);
    if (lead < 0x80) {
      out.push_back(lead);
      continue;
    }
    const LeadByte kind = classify_lead(lead);
    char32_t c = lead & (0x7f >> kind.length);
    int have = 1;
    while (have < kind.length && i < text.size()) {
      const auto next = static_cast<uint8_t>(text[i]);
      const uint8_t low = have == 1 ? kind.second_low : 0x80;
      const uint8_t high = have == 1 ? kind.second_high : 0xbf;
      if (next < low || next > high) break;
      c = (c << 6) | (next & 0x3f);
      ++have;
      ++i;
    }
    out.push_back(kind.length != 0 && have == kind.length ? c : kReplacement);
  }
  return out;
}

std::string encode_utf8(std::u32string_view text) {
  std::string out;
  out.reserve(text.size());
  for (const char32_t c : text) {
    utf8proc_uint8_t bytes[4];
    const auto n = utf8proc_encode_char(static_cast<utf8proc_int32_t>(c), bytes);
    out.append(reinterpret_cast<const char*>(bytes), static_cast<size_t>(n));
  }
  return out;
}

bool is_python_space(char32_t c) {
  return (c >= 0x9 && c <= 0xd) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 ||
         c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f ||
         c == 0x205f || c == 0x3000;
}

bool is_python_word(char32_t c) {
  if (c < 0x80) {
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_';
  }
  switch (category(c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
      return true;
    default:
      return false;
  }
}

bool is_ascii_punctuation(char32_t c) {
  return (c >= '!' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`') ||
         (c >= '{' && c <= '~');
}

std::u32string python_lower(std::u32string_view text) {
  std::u32string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    const char32_t c = text[i];
    if (c == kCapitalSigma) {
      out.push_back(is_final_sigma(text, i) ? kFinalSigma : kSmallSigma);
    } else if (c == kCapitalDottedI) {
      out.push_back('i');
      out.push_back(kCombiningDotAbove);
    } else {
      out.push_back(static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))));
    }
  }
  return out;
}

std::vector<std::u32string_view> python_split(std::u32string_view text) {
  std::vector<std::u32string_view> pieces;
  for (size_t i = 0; i < text.size();) {
    if (is_python_space(text[i])) {
      ++i;
      continue;
    }
    const size_t begin = i;
    while (i < text.size() && !is_python_space(text[i])) ++i;
    pieces.push_back(text.substr(begin, i - begin));
  }
  return pieces;
}

std::u32string_view python_rstrip(std::u32string_view text) {
  while (!text.empty() && is_python_space(text.back())) text.remove_suffix(1);
  return text;
}

std::u32string_view python_strip(std::u32string_view text) {
  while (!text.empty() && is_python_space(text.front())) text.remove_prefix(1);
  return python_rstrip(text);
}

}  // namespace lathe
