#include "lathe/text/byte_level.h"

#include <array>
#include <cstdint>

#include "lathe/text/unicode.h"

namespace lathe::text {
namespace {

struct Alphabet {
  Alphabet() {
    characters.fill(0);
    bytes.fill(-1);
    int next = 0x100;  // unprintable bytes get the characters from U+0100 on
    for (int b = 0; b < 256; ++b) {
      const bool printable = (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
      characters[b] = static_cast<char32_t>(printable ? b : next++);
      bytes[characters[b]] = static_cast<int16_t>(b);
    }
  }
  std::array<char32_t, 256> characters;
  std::array<int16_t, 0x144> bytes;  // 256 + the 68 unprintable ones
};

const Alphabet& alphabet() {
  static const Alphabet a;
  return a;
}

}  // namespace

char32_t byte_to_character(uint8_t byte) { return alphabet().characters[byte]; }

std::optional<uint8_t> character_to_byte(char32_t c) {
  const auto& bytes = alphabet().bytes;
  if (c >= bytes.size() || bytes[c] < 0) return std::nullopt;
  return static_cast<uint8_t>(bytes[c]);
}

std::string bytes_to_alphabet(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size() * 2);
  for (const char b : bytes) append_utf8(out, byte_to_character(static_cast<uint8_t>(b)));
  return out;
}

std::optional<std::string> alphabet_to_bytes(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const Decoded d = decode_utf8(text);
    text.remove_prefix(d.length);
    const auto byte = d.valid ? character_to_byte(d.c) : std::nullopt;
    if (!byte) return std::nullopt;
    out += static_cast<char>(*byte);
  }
  return out;
}

}  // namespace lathe::text
