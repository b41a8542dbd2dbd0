// WordPiece: the longest token first, left to right (BERT and its relatives).
#pragma once

#include <string>

#include "lathe/base/result.h"
#include "lathe/text/token_model.h"
#include "lathe/text/vocabulary.h"

namespace lathe::text {

class WordPiece final : public TokenModel {
 public:
  static Result<std::unique_ptr<WordPiece>> make(const Vocabulary& vocabulary,
                                                 const std::string& unk_token, std::string prefix,
                                                 int64_t max_characters);
  void tokenize(std::string_view word, Scratch& scratch, std::vector<TokenId>& ids) const override;
  std::string kind() const override { return "WordPiece"; }

 private:
  explicit WordPiece(const Vocabulary& vocabulary) : vocabulary_(vocabulary) {}
  const Vocabulary& vocabulary_;
  std::string prefix_;  // of every piece but a word's first
  TokenId unk_ = 0;
  int64_t max_characters_ = 100;  // longer words are unknown
};

}  // namespace lathe::text
