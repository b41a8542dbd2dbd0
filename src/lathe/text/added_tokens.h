// Added tokens: strings that are one token wherever they stand, cut out before the model sees the
// text. Those marked `normalized` are looked for in the normalized text, the others before it.
#pragma once

#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "lathe/text/normalizers.h"
#include "lathe/text/tokenizer.h"
#include "lathe/text/trie.h"

namespace lathe::text {

struct AddedToken {
  TokenId id = 0;
  std::string content;
  bool special = false;
  bool normalized = false;
  bool single_word = false;             // not next to a word character
  bool lstrip = false, rstrip = false;  // takes the white space on that side with it
};

class AddedTokens {
 public:
  // Of two tokens with one id or one content the later counts. `normalizer` may be null.
  void set(std::vector<AddedToken> tokens, const Normalizer* normalizer);

  struct Piece {
    std::string_view text;  // to tokenize, when token < 0
    TokenId token;
  };
  // Appends the pieces of `text`, in order. Without `special`, special tokens are ordinary text.
  void split(std::string_view text, bool normalized, bool special, std::vector<Piece>& out) const;

  const AddedToken* find(TokenId id) const;
  const AddedToken* find(std::string_view content) const;
  const std::vector<AddedToken>& all() const { return tokens_; }

 private:
  std::vector<AddedToken> tokens_;
  std::unordered_map<TokenId, size_t> by_id_;
  std::unordered_map<std::string_view, size_t> by_content_;
  Trie raw_, normalized_;  // values are positions in tokens_
};

}  // namespace lathe::text
