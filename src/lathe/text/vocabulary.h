// A vocabulary: token strings and ids, both ways.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "lathe/base/result.h"
#include "lathe/text/tokenizer.h"

namespace lathe::text {

class Vocabulary {
 public:
  // Ids may have gaps; of two tokens with one id the later is kept for id → token.
  static Result<Vocabulary> make(std::vector<std::pair<std::string, TokenId>> entries);

  Vocabulary() = default;
  Vocabulary(Vocabulary&&) = default;
  Vocabulary& operator=(Vocabulary&&) = default;

  std::optional<TokenId> find(std::string_view token) const {
    const auto it = ids_.find(token);
    if (it == ids_.end()) return std::nullopt;
    return it->second;
  }
  // Empty for an id that has no token.
  const std::string& token(TokenId id) const {
    static const std::string none;
    return id >= 0 && id < end() ? tokens_[id] : none;
  }
  bool has(TokenId id) const { return id >= 0 && id < end() && present_[id]; }
  TokenId end() const { return static_cast<TokenId>(tokens_.size()); }  // highest id + 1
  const std::vector<std::pair<std::string, TokenId>>& entries() const { return entries_; }

  // "<0x41>" for 0x41, where the vocabulary has it.
  std::optional<TokenId> byte_token(uint8_t byte) const;

 private:
  std::vector<std::pair<std::string, TokenId>> entries_;  // what ids_ points into; never changed
  std::unordered_map<std::string_view, TokenId> ids_;
  std::vector<std::string> tokens_;
  std::vector<bool> present_;
};

// The byte of "<0xHH>".
std::optional<uint8_t> byte_of_token(std::string_view token);

}  // namespace lathe::text
