// UTF-8 and the Unicode properties that tokenizers ask for (from utf8proc).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace lathe::text {

struct Decoded {
  char32_t c;  // U+FFFD where the bytes are not UTF-8
  int length;  // bytes consumed, at least 1; a broken sequence is consumed up to its first bad byte
  bool valid;
};
// `text` must not be empty.
Decoded decode_utf8(std::string_view text);
// The length in bytes of the character that starts with `lead`, in text known to be valid.
inline int utf8_length(char lead) {
  const auto b = static_cast<uint8_t>(lead);
  return b < 0x80 ? 1 : b < 0xe0 ? 2 : b < 0xf0 ? 3 : 4;
}
void append_utf8(std::string& out, char32_t c);
std::string to_utf8(char32_t c);

// `text` itself if it is valid UTF-8; otherwise a copy in `storage` with each broken sequence
// replaced by U+FFFD, as Python's and Rust's lossy decoders do.
std::string_view valid_utf8(std::string_view text, std::string& storage);

enum class NormalForm { kNfc, kNfd, kNfkc, kNfkd };
// Of valid UTF-8. Linear in the length but for sorting inside runs of combining marks.
std::string normal_form(std::string_view text, NormalForm form);

bool is_white_space(char32_t c);      // Unicode White_Space
bool is_mark(char32_t c);             // Mn, Mc, Me
bool is_nonspacing_mark(char32_t c);  // Mn
bool is_punctuation(char32_t c);      // P*, and all ASCII punctuation
bool is_number(char32_t c);           // Nd, Nl, No
bool is_other(char32_t c);            // Cc, Cf, Co, Cs; not what is unassigned
bool is_word(char32_t c);             // \w: Alphabetic, M*, Nd, Pc, joiners
bool is_cjk(char32_t c);              // the blocks BERT puts spaces around
std::string lower(std::string_view text);
std::string upper(std::string_view text);

// The end of the first grapheme cluster of non-empty valid text, in bytes.
size_t grapheme_length(std::string_view text);

}  // namespace lathe::text
