// Tokenizer: text to token ids and back, equal to Hugging Face tokenizers' results.
// Immutable after loading; safe to share between threads.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lathe/base/result.h"

namespace lathe {

using TokenId = int32_t;

struct EncodeOptions {
  bool add_special =
      true;  // apply the post-processor (BOS, EOS, …) as the model's own tokenizer does
  bool parse_special = true;  // "<s>" in the text becomes the special token, not its characters
};

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // Any bytes are allowed; invalid UTF-8 is encoded as the reference does (U+FFFD where it
  // decodes).
  virtual std::vector<TokenId> encode(std::string_view text,
                                      const EncodeOptions& options = {}) const = 0;
  // Bytes, which may end inside a UTF-8 sequence. `skip_special` leaves special tokens out.
  virtual std::string decode(const std::vector<TokenId>& ids, bool skip_special = true) const = 0;

  virtual int64_t vocab_size() const = 0;
  virtual std::optional<TokenId> id_of(std::string_view token) const = 0;
  virtual std::string token_of(TokenId id) const = 0;  // as in the vocabulary file ("Ġthe", "▁the")
  virtual bool is_special(TokenId id) const = 0;

  virtual std::optional<TokenId> bos() const = 0;
  virtual std::optional<TokenId> eos() const = 0;
  virtual bool adds_bos() const = 0;     // whether encode() with add_special puts BOS first
  virtual std::string kind() const = 0;  // "byte-level BPE", "SentencePiece BPE", "Unigram"
  virtual std::string hash() const = 0;  // SHA-256 over vocabulary, merges and rules
  // Jinja source of the chat template; empty when there is none.
  virtual const std::string& chat_template() const = 0;
};

// From a model directory: tokenizer.json, else tokenizer.model, else vocab.json + merges.txt, else
// tokenizer.gguf; tokenizer_config.json, special_tokens_map.json, generation_config.json and
// chat_template.jinja are read where present.
Result<std::shared_ptr<const Tokenizer>> load_tokenizer(const std::string& directory);

// From the metadata of a GGUF file.
class GgufFile;
Result<std::shared_ptr<const Tokenizer>> load_tokenizer(const GgufFile& gguf);

}  // namespace lathe
