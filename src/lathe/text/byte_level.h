// The byte-level alphabet of GPT-2: each byte is written as one printable character.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace lathe::text {

char32_t byte_to_character(uint8_t byte);
// The byte that `c` stands for, if it is in the alphabet.
std::optional<uint8_t> character_to_byte(char32_t c);

std::string bytes_to_alphabet(std::string_view bytes);
// nullopt when a character is not in the alphabet.
std::optional<std::string> alphabet_to_bytes(std::string_view text);

}  // namespace lathe::text
