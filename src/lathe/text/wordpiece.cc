#include "lathe/text/wordpiece.h"

#include "lathe/text/unicode.h"

namespace lathe::text {

Result<std::unique_ptr<WordPiece>> WordPiece::make(const Vocabulary& vocabulary,
                                                   const std::string& unk_token, std::string prefix,
                                                   int64_t max_characters) {
  std::unique_ptr<WordPiece> w(new WordPiece(vocabulary));
  const auto unk = vocabulary.find(unk_token);
  if (!unk) return bad_input("unk_token '{}' is not in the vocabulary", unk_token);
  w->unk_ = *unk;
  w->prefix_ = std::move(prefix);
  w->max_characters_ = max_characters;
  return w;
}

void WordPiece::tokenize(std::string_view word, Scratch& scratch, std::vector<TokenId>& ids) const {
  int64_t characters = 0;
  for (size_t i = 0; i < word.size() && characters <= max_characters_; i += utf8_length(word[i]))
    ++characters;
  if (characters > max_characters_) {
    ids.push_back(unk_);
    return;
  }
  const size_t first = ids.size();
  std::string piece;
  for (size_t begin = 0; begin < word.size();) {
    size_t end = word.size();
    std::optional<TokenId> id;
    while (end > begin) {
      piece.assign(begin > 0 ? prefix_ : std::string()).append(word, begin, end - begin);
      if ((id = vocabulary_.find(piece))) break;
      --end;
      while (end > begin && (static_cast<uint8_t>(word[end]) & 0xc0) == 0x80) --end;
    }
    if (!id) {
      ids.resize(first);
      ids.push_back(unk_);
      return;
    }
    ids.push_back(*id);
    begin = end;
  }
  (void)scratch;
}

}  // namespace lathe::text
