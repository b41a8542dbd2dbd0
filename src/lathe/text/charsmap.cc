#include "lathe/text/charsmap.h"

#include <algorithm>
#include <cstring>

#include "lathe/text/unicode.h"

namespace lathe::text {
namespace {

bool has_leaf(uint32_t unit) { return (unit >> 8) & 1; }
uint32_t value(uint32_t unit) { return unit & 0x7fffffffu; }
uint32_t label(uint32_t unit) { return unit & 0x800000ffu; }
bool is_continuation(char c) { return (static_cast<uint8_t>(c) & 0xc0) == 0x80; }
uint32_t offset(uint32_t unit) { return (unit >> 10) << ((unit & 0x200u) >> 6); }

}  // namespace

Result<Charsmap> Charsmap::parse(std::string_view bytes) {
  Charsmap map;
  if (bytes.empty()) return map;
  uint32_t size = 0;
  if (bytes.size() < 4) return bad_input("{} bytes are no character map", bytes.size());
  std::memcpy(&size, bytes.data(), 4);
  if (size % 4 != 0 || size > bytes.size() - 4)
    return bad_input("trie of {} bytes in a character map of {}", size, bytes.size());
  map.units_.resize(size / 4);
  std::memcpy(map.units_.data(), bytes.data() + 4, size);
  map.pool_ = std::string(bytes.substr(4 + size));
  std::string storage;
  if (valid_utf8(map.pool_, storage).data() != map.pool_.data())
    return bad_input("the replacements of the character map are not UTF-8");
  if (map.longest_replacement() > 1024)
    return bad_input("a replacement of {} bytes in a character map", map.longest_replacement());
  return map;
}

template <typename F>
void Charsmap::for_prefixes(std::string_view text, F&& f) const {
  if (units_.empty()) return;
  size_t node = offset(units_[0]);
  for (size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<uint8_t>(text[i]);
    if (c == 0) return;
    node ^= c;
    if (node >= units_.size()) return;
    const uint32_t unit = units_[node];
    if (label(unit) != c) return;
    node ^= offset(unit);
    if (has_leaf(unit)) {
      if (node >= units_.size()) return;
      const bool whole = i + 1 == text.size() || !is_continuation(text[i + 1]);
      if (whole && !f(i + 1, value(units_[node]))) return;
    }
  }
}

std::string_view Charsmap::replacement(uint32_t at) const {
  // An offset into the middle of a character (a hostile file) gives nothing.
  if (at >= pool_.size() || is_continuation(pool_[at])) return {};
  const std::string_view rest = std::string_view(pool_).substr(at);
  return rest.substr(0, rest.find('\0'));
}

size_t Charsmap::longest_replacement() const {
  size_t longest = 0;
  for (size_t begin = 0; begin < pool_.size();) {
    const size_t end = std::min(pool_.find('\0', begin), pool_.size());
    longest = std::max(longest, end - begin);
    begin = end + 1;
  }
  return longest;
}

std::optional<Charsmap::Match> Charsmap::longest(std::string_view text) const {
  std::optional<Match> best;
  for_prefixes(text, [&](size_t length, uint32_t at) {
    best = Match{length, replacement(at)};
    return true;
  });
  return best;
}

std::optional<std::string_view> Charsmap::shortest(std::string_view cluster) const {
  std::optional<std::string_view> found;
  for_prefixes(cluster, [&](size_t, uint32_t at) {
    found = replacement(at);
    return false;
  });
  return found;
}

Result<std::string> decode_base64(std::string_view text) {
  std::string out;
  uint32_t bits = 0;
  int count = 0;
  while (!text.empty() && text.back() == '=') text.remove_suffix(1);
  for (const char c : text) {
    int digit;
    if (c >= 'A' && c <= 'Z') {
      digit = c - 'A';
    } else if (c >= 'a' && c <= 'z') {
      digit = c - 'a' + 26;
    } else if (c >= '0' && c <= '9') {
      digit = c - '0' + 52;
    } else if (c == '+') {
      digit = 62;
    } else if (c == '/') {
      digit = 63;
    } else {
      return bad_input("character {} in base64", static_cast<int>(static_cast<uint8_t>(c)));
    }
    bits = (bits << 6) | static_cast<uint32_t>(digit);
    count += 6;
    if (count >= 8) {
      count -= 8;
      out += static_cast<char>((bits >> count) & 0xff);
    }
  }
  return out;
}

}  // namespace lathe::text
