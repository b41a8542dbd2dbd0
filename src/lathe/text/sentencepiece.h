// SentencePiece: its model file, its normalization, and what GGUF files take over from it.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "lathe/base/result.h"
#include "lathe/text/bpe.h"
#include "lathe/text/charsmap.h"
#include "lathe/text/pipeline.h"
#include "lathe/text/trie.h"

namespace lathe::text {

struct SentencePieceRules {
  bool unigram = false;  // else BPE
  bool byte_fallback = false;
  bool add_dummy_prefix = true;
  bool prefix_each = true;  // before every stretch between special tokens, not only the first
  bool remove_extra_whitespaces = true;
  bool escape_whitespaces = true;
  bool whitespace_as_suffix = false;
  std::string charsmap;  // precompiled; may be empty
};

struct SentencePieces {
  std::vector<std::string> pieces;
  std::vector<float> scores;
  std::vector<Bpe::PieceType> types;
  TokenId unk = 0, bos = -1, eos = -1;  // -1: none
  SentencePieceRules rules;
};

// Reads the protobuf message of a tokenizer.model; unknown fields are skipped.
Result<SentencePieces> read_sentencepiece_model(std::string_view bytes);

// The pipeline of these pieces. prefix and suffix stay empty.
Result<Parts> make_sentencepiece_parts(SentencePieces pieces);

}  // namespace lathe::text
