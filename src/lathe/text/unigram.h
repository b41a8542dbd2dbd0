// Unigram: the segmentation of highest total log probability (Kudo 2018), by Viterbi.
#pragma once

#include <optional>
#include <vector>

#include "lathe/base/result.h"
#include "lathe/text/bpe.h"
#include "lathe/text/token_model.h"
#include "lathe/text/trie.h"
#include "lathe/text/vocabulary.h"

namespace lathe::text {

struct UnigramOptions {
  std::optional<TokenId> unk;
  bool byte_fallback = false;
  // SentencePiece's own arithmetic: single precision, and user-defined pieces always win.
  // Without it, double precision as Hugging Face tokenizers has.
  bool sentencepiece = false;
};

class Unigram final : public TokenModel {
 public:
  // `types` may be empty (all normal). `vocabulary` outlives the model.
  static Result<std::unique_ptr<Unigram>> make(const Vocabulary& vocabulary,
                                               std::vector<double> scores,
                                               const std::vector<Bpe::PieceType>& types,
                                               UnigramOptions options);
  void tokenize(std::string_view word, Scratch& scratch, std::vector<TokenId>& ids) const override;
  std::string kind() const override { return "Unigram"; }

 private:
  explicit Unigram(const Vocabulary& vocabulary) : vocabulary_(vocabulary) {}
  template <typename Score>
  void segment(std::string_view word, std::vector<TokenId>& ids) const;
  void emit_unknown(std::string_view text, std::vector<TokenId>& ids) const;

  const Vocabulary& vocabulary_;
  std::vector<double> scores_;
  std::vector<bool> user_defined_;
  UnigramOptions options_;
  Trie trie_;
  double unk_score_ = 0, max_score_ = 0;
};

}  // namespace lathe::text
