// Text as Python's str sees it: code points, str.lower(), str.split(), and what \w and \s match.
// The reference metrics are written in Python, so equality to the last digit needs its notions of
// letter, space and lower case. Checked against Python 3.11 over all code points in
// tests/eval/metric_python_text_test.cc. Not a general Unicode library.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace lathe {

// Each ill-formed sequence becomes U+FFFD as in bytes.decode(errors="replace"), one per maximal
// well-formed prefix: a model that stops in the middle of a character must not end the evaluation.
std::u32string decode_utf8(std::string_view text);
std::string encode_utf8(std::u32string_view text);

bool is_python_space(char32_t c);       // str.isspace(), and \s
bool is_python_word(char32_t c);        // \w: str.isalnum() or "_"
bool is_ascii_punctuation(char32_t c);  // string.punctuation

// str.lower(): full mapping, with final sigma and the dotted capital I.
std::u32string python_lower(std::u32string_view text);

// str.split() without arguments: pieces between runs of white space, never empty. The views borrow.
std::vector<std::u32string_view> python_split(std::u32string_view text);

// str.strip() and str.rstrip() without arguments.
std::u32string_view python_strip(std::u32string_view text);
std::u32string_view python_rstrip(std::u32string_view text);

}  // namespace lathe
