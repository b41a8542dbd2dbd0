// The vocabulary of a tokenizer as a list by id, whatever file it comes from: what GGUF stores.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lathe/base/result.h"
#include "lathe/text/tokenizer.h"

namespace lathe {

struct TokenTable {
  std::string model;  // GGUF's name: "gpt2" byte-level BPE, "llama" SentencePiece BPE, "t5" Unigram
  std::vector<std::string> tokens, merges;
  std::vector<float> scores;   // SentencePiece and Unigram
  std::vector<int32_t> types;  // ggml's: 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused,
                               // 6 byte
  std::string charsmap;        // Unigram: precompiled normalization; may be empty
  int64_t unknown = -1;
};

// From the files that load_tokenizer() read `tokenizer` from. Padded to `vocab` entries, the rows
// of the embedding table, with unused tokens. BPE vocabularies without scores (tokenizer.json) get
// the rank of the first merge that makes a piece, negated.
Result<TokenTable> read_token_table(const std::string& directory, const Tokenizer& tokenizer,
                                    int64_t vocab);

}  // namespace lathe
