// The tokenizer that all file formats are loaded into: added tokens are cut out, the text between
// them is normalized, cut into words and given to the model; a template adds BOS and the like.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "lathe/text/added_tokens.h"
#include "lathe/text/decoders.h"
#include "lathe/text/normalizers.h"
#include "lathe/text/pre_tokenizers.h"
#include "lathe/text/token_model.h"
#include "lathe/text/tokenizer.h"
#include "lathe/text/vocabulary.h"

namespace lathe::text {

// What a loader gathers. Null parts are left out of the pipeline.
struct Parts {
  std::unique_ptr<Vocabulary> vocabulary;
  std::unique_ptr<Normalizer> normalizer;
  std::unique_ptr<PreTokenizer> pre_tokenizer;
  std::unique_ptr<TokenModel> model;
  std::unique_ptr<Decoder> decoder;  // null: tokens are joined by spaces, as the reference does
  std::vector<AddedToken> added;
  std::vector<TokenId> prefix, suffix;  // put around the ids when special tokens are wanted
  std::optional<TokenId> bos, eos;
  std::string chat_template;
  std::string hash;
};

std::shared_ptr<const Tokenizer> make_tokenizer(Parts parts);

// The parts of a tokenizer.json; `source` is its text.
Result<Parts> parse_tokenizer_json(std::string_view source);
// The parts of a SentencePiece tokenizer.model. With `prefix_each`, the dummy space is put before
// every stretch of text between special tokens ("legacy" in tokenizer_config.json), otherwise only
// before the first. Control pieces become special tokens; prefix and suffix stay empty.
Result<Parts> parse_sentencepiece(std::string_view bytes, bool prefix_each);
// vocab.json and merges.txt with the rules that go by the name `scheme` (bpe_schemes.h).
Result<Parts> parse_vocab_and_merges(std::string_view vocab_json, std::string_view merges,
                                     const std::string& scheme, bool add_prefix_space);

// The id of a token's text: an added token, or one of the vocabulary.
std::optional<TokenId> find_token(const Parts& parts, std::string_view content);

}  // namespace lathe::text
