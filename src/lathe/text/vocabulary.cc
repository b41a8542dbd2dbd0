#include "lathe/text/vocabulary.h"

#include <fmt/format.h>

#include <charconv>

namespace lathe::text {
namespace {
// How far ids may run ahead of the number of tokens: bounds what a hostile id can allocate.
constexpr int64_t kMaxGap = 1 << 18;
}  // namespace

Result<Vocabulary> Vocabulary::make(std::vector<std::pair<std::string, TokenId>> entries) {
  Vocabulary v;
  v.entries_ = std::move(entries);
  v.ids_.reserve(v.entries_.size());
  TokenId highest = -1;
  for (const auto& [token, id] : v.entries_) {
    if (id < 0 || id > static_cast<int64_t>(v.entries_.size()) + kMaxGap)
      return bad_input("token '{}' has the id {} in a vocabulary of {}", token, id,
                       v.entries_.size());
    highest = std::max(highest, id);
  }
  v.tokens_.resize(highest + 1);
  v.present_.resize(highest + 1);
  for (const auto& [token, id] : v.entries_) {
    v.ids_[token] = id;
    v.tokens_[id] = token;
    v.present_[id] = true;
  }
  return v;
}

std::optional<TokenId> Vocabulary::byte_token(uint8_t byte) const {
  return find(fmt::format("<0x{:02X}>", byte));
}

std::optional<uint8_t> byte_of_token(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token.back() != '>') return std::nullopt;
  uint8_t byte = 0;
  const auto [end, error] = std::from_chars(token.data() + 3, token.data() + 5, byte, 16);
  if (error != std::errc() || end != token.data() + 5) return std::nullopt;
  return byte;
}

}  // namespace lathe::text
