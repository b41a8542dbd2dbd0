// Byte-pair encoding: adjacent symbols are merged, lowest rank first, leftmost among equals
// (Sennrich et al. 2016). SentencePiece's BPE is the same with ranks that follow the scores of the
// merged pieces. A word of n symbols takes O(n log n).
#pragma once

#include <array>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "lathe/base/result.h"
#include "lathe/text/flat_map.h"
#include "lathe/text/token_model.h"
#include "lathe/text/trie.h"
#include "lathe/text/vocabulary.h"

namespace lathe::text {

struct BpeOptions {
  std::string unk_token;  // empty: a character without a token is dropped, as the reference does
  std::string continuing_subword_prefix, end_of_word_suffix;
  bool fuse_unk = false;
  bool byte_fallback = false;
  bool ignore_merges = false;  // a whole word that is a token is that token
};

class Bpe final : public TokenModel {
 public:
  using Pairs = std::vector<std::pair<std::string, std::string>>;
  // `vocabulary` outlives the model.
  static Result<std::unique_ptr<Bpe>> from_merges(const Vocabulary& vocabulary, const Pairs& merges,
                                                  BpeOptions options);

  enum class PieceType : uint8_t { kNormal, kUnknown, kControl, kUserDefined, kUnused, kByte };
  // SentencePiece: all pairs whose concatenation is a piece, ranked by that piece's score.
  // User-defined pieces are cut out whole; unused pieces are taken apart again.
  static Result<std::unique_ptr<Bpe>> from_scores(const Vocabulary& vocabulary,
                                                  const std::vector<float>& scores,
                                                  const std::vector<PieceType>& types,
                                                  BpeOptions options);

  void tokenize(std::string_view word, Scratch& scratch, std::vector<TokenId>& ids) const override;
  void tokenize_bytes(std::string_view bytes, Scratch& scratch,
                      std::vector<TokenId>& ids) const override;
  std::string kind() const override;

 private:
  struct Merge {
    uint32_t rank = 0;
    TokenId id = 0;
  };
  // For unused pieces: the pair that each was last made from.
  using Origins = std::unordered_map<TokenId, std::pair<TokenId, TokenId>>;

  explicit Bpe(const Vocabulary& vocabulary) : vocabulary_(vocabulary) {}
  Status prepare(BpeOptions options);
  TokenId symbol_of(std::string_view character) const;
  void tokenize_part(std::string_view part, Scratch& scratch, std::vector<TokenId>& ids) const;
  void add_symbols(std::string_view word, std::vector<TokenId>& symbols) const;
  void merge(std::vector<TokenId>& symbols, Origins* origins) const;
  void merge_short(std::vector<TokenId>& symbols, Origins* origins) const;
  void merge_long(std::vector<TokenId>& symbols, Origins* origins) const;
  void emit(TokenId symbol, const Origins& origins, std::vector<TokenId>& ids) const;
  const Merge* find_merge(TokenId left, TokenId right, Origins* origins) const;

  const Vocabulary& vocabulary_;
  BpeOptions options_;
  FlatMap<Merge> merges_;
  std::vector<TokenId> bmp_symbols_;  // by code point below U+10000; -1 where there is none
  std::unordered_map<std::string, TokenId> other_symbols_;
  std::array<TokenId, 256> byte_symbols_{};  // of the byte-level alphabet
  std::array<TokenId, 256> byte_tokens_{};   // <0xHH>
  bool bytes_complete_ = false;
  TokenId unk_ = -1;
  // Characters without a token of their own that still take part in merges: ids from
  // vocabulary_.end() on.
  std::vector<std::string> extra_symbols_;
  Trie user_defined_;
  std::vector<bool> unused_;
  // No token has U+2581 after another character, so words may be cut before it.
  bool cut_at_marks_ = false;
  std::unordered_map<std::string, TokenId> whole_words_;  // as bytes, for ignore_merges
};

}  // namespace lathe::text
