// The tokenizer inside a GGUF file (keys tokenizer.ggml.*, as llama.cpp writes and reads them).
#include "lathe/base/hash.h"
#include "lathe/base/suggest.h"
#include "lathe/io/gguf.h"
#include "lathe/text/bpe_schemes.h"
#include "lathe/text/json_fields.h"
#include "lathe/text/pipeline.h"
#include "lathe/text/sentencepiece.h"

namespace lathe {
namespace {

using text::Parts;
using Type = text::Bpe::PieceType;

Result<std::vector<Type>> read_types(const GgufFile& gguf, size_t tokens) {
  std::vector<Type> types(tokens, Type::kNormal);
  const GgufArray* array = gguf.array("tokenizer.ggml.token_type");
  if (!array) return types;
  if (array->integers.size() != tokens)
    return bad_input("tokenizer.ggml.token_type has {} entries for {} tokens",
                     array->integers.size(), tokens);
  for (size_t i = 0; i < tokens; ++i) {
    switch (array->integers[i]) {
      case 0:
      case 1:
        types[i] = Type::kNormal;
        break;
      case 2:
        types[i] = Type::kUnknown;
        break;
      case 3:
        types[i] = Type::kControl;
        break;
      case 4:
        types[i] = Type::kUserDefined;
        break;
      case 5:
        types[i] = Type::kUnused;
        break;
      case 6:
        types[i] = Type::kByte;
        break;
      default:
        return bad_input("token {} has the type {}", i, array->integers[i]);
    }
  }
  return types;
}

// A token id stored under `key`; absent, or outside the vocabulary: none.
std::optional<TokenId> token_at(const GgufFile& gguf, const char* key, size_t tokens) {
  const auto id = gguf.integer(key);
  if (!id || *id < 0 || *id >= static_cast<int64_t>(tokens)) return std::nullopt;
  return static_cast<TokenId>(*id);
}

Result<Parts> sentencepiece_parts(const GgufFile& gguf, const std::vector<std::string>& tokens,
                                  std::vector<Type> types, bool unigram) {
  text::SentencePieces pieces;
  const GgufArray* scores = gguf.array("tokenizer.ggml.scores");
  if (!scores || scores->numbers.size() != tokens.size())
    return bad_input("tokenizer.ggml.scores has {} entries for {} tokens",
                     scores ? scores->numbers.size() : 0, tokens.size());
  pieces.pieces = tokens;
  pieces.scores.assign(scores->numbers.begin(), scores->numbers.end());
  pieces.types = std::move(types);
  pieces.unk = token_at(gguf, "tokenizer.ggml.unknown_token_id", tokens.size()).value_or(-1);
  for (size_t i = 0; pieces.unk < 0 && i < tokens.size(); ++i)
    if (pieces.types[i] == Type::kUnknown) pieces.unk = static_cast<TokenId>(i);
  text::SentencePieceRules& rules = pieces.rules;
  rules.unigram = unigram;
  for (const Type type : pieces.types) rules.byte_fallback |= type == Type::kByte;
  rules.add_dummy_prefix = gguf.boolean("tokenizer.ggml.add_space_prefix").value_or(true);
  rules.remove_extra_whitespaces =
      gguf.boolean("tokenizer.ggml.remove_extra_whitespaces").value_or(unigram);
  if (const GgufArray* map = gguf.array("tokenizer.ggml.precompiled_charsmap"))
    for (const int64_t byte : map->integers) rules.charsmap += static_cast<char>(byte);
  return text::make_sentencepiece_parts(std::move(pieces));
}

Result<Parts> byte_level_parts(const GgufFile& gguf, const std::vector<std::string>& tokens,
                               const std::vector<Type>& types, bool* adds_bos) {
  const std::string pre = gguf.string("tokenizer.ggml.pre").value_or("default");
  const text::BpeScheme* scheme = text::find_bpe_scheme(pre);
  if (!scheme)
    return unsupported("tokenizer.ggml.pre '{}'", pre)
        .with_hint(suggest(pre, text::bpe_scheme_names()));
  *adds_bos = scheme->adds_bos;
  Parts parts;
  Sha256 hash;
  hash.update(pre);
  std::vector<std::pair<std::string, TokenId>> entries;
  for (size_t i = 0; i < tokens.size(); ++i) {
    const auto id = static_cast<TokenId>(i);
    entries.emplace_back(tokens[i], id);
    hash.update(fmt::format("{} {} {} ", i, static_cast<int>(types[i]), tokens[i]));
    if (types[i] != Type::kControl && types[i] != Type::kUserDefined && types[i] != Type::kUnknown)
      continue;
    text::AddedToken token;
    token.id = id;
    token.content = tokens[i];
    token.special = types[i] != Type::kUserDefined;
    parts.added.push_back(std::move(token));
  }
  LATHE_TRY(text::Vocabulary vocabulary, text::Vocabulary::make(std::move(entries)));
  parts.vocabulary = std::make_unique<text::Vocabulary>(std::move(vocabulary));
  const GgufArray* merges = gguf.array("tokenizer.ggml.merges");
  if (!merges) return bad_input("tokenizer.ggml.merges is missing");
  text::Bpe::Pairs pairs;
  for (const std::string& merge : merges->strings) {
    // The first symbol is never empty, so a space in front belongs to it.
    const size_t space = merge.find(' ', 1);
    if (space == std::string::npos)
      return bad_input("merge {}: '{}' is not two tokens", pairs.size(), merge);
    pairs.emplace_back(merge.substr(0, space), merge.substr(space + 1));
    hash.update(merge);
  }
  text::BpeOptions options;
  options.ignore_merges = scheme->ignore_merges;
  LATHE_TRY(parts.model, text::Bpe::from_merges(*parts.vocabulary, pairs, std::move(options)));
  LATHE_TRY(parts.pre_tokenizer,
            text::make_byte_level(scheme->patterns,
                                  gguf.boolean("tokenizer.ggml.add_space_prefix").value_or(false)));
  if (scheme->nfc) parts.normalizer = text::make_nfc();
  LATHE_TRY(parts.decoder, text::make_decoder({{"type", "ByteLevel"}}));
  parts.hash = hash.hex();
  return parts;
}

Result<Parts> gguf_parts(const GgufFile& gguf) {
  const auto model = gguf.string("tokenizer.ggml.model");
  if (!model) return not_found("the file has no tokenizer (no tokenizer.ggml.model)");
  const GgufArray* tokens = gguf.array("tokenizer.ggml.tokens");
  if (!tokens || tokens->strings.empty()) return bad_input("tokenizer.ggml.tokens is missing");
  const size_t count = tokens->strings.size();
  LATHE_TRY(std::vector<Type> types, read_types(gguf, count));
  Parts parts;
  bool adds_bos = false, adds_eos = false;
  if (*model == "llama") {
    adds_bos = true;
    LATHE_TRY(parts, sentencepiece_parts(gguf, tokens->strings, std::move(types), false));
  } else if (*model == "t5") {
    adds_eos = true;
    LATHE_TRY(parts, sentencepiece_parts(gguf, tokens->strings, std::move(types), true));
  } else if (*model == "gpt2") {
    LATHE_TRY(parts, byte_level_parts(gguf, tokens->strings, types, &adds_bos));
  } else {
    return unsupported("tokenizer.ggml.model '{}'", *model)
        .with_hint("known: llama (SentencePiece), t5 (Unigram), gpt2 (byte-level BPE)");
  }
  parts.bos = token_at(gguf, "tokenizer.ggml.bos_token_id", count);
  parts.eos = token_at(gguf, "tokenizer.ggml.eos_token_id", count);
  // What llama.cpp assumes when a SentencePiece vocabulary names none.
  if (*model == "llama" && !gguf.has("tokenizer.ggml.bos_token_id") && count > 1) parts.bos = 1;
  if (*model == "llama" && !gguf.has("tokenizer.ggml.eos_token_id") && count > 2) parts.eos = 2;
  adds_bos = gguf.boolean("tokenizer.ggml.add_bos_token").value_or(adds_bos);
  adds_eos = gguf.boolean("tokenizer.ggml.add_eos_token").value_or(adds_eos);
  if (adds_bos && parts.bos) parts.prefix.push_back(*parts.bos);
  if (adds_eos && parts.eos) parts.suffix.push_back(*parts.eos);
  parts.chat_template = gguf.string("tokenizer.chat_template").value_or("");
  return parts;
}

}  // namespace

Result<std::shared_ptr<const Tokenizer>> load_tokenizer(const GgufFile& gguf) {
  LATHE_TRY_IN(Parts parts, gguf_parts(gguf), gguf.name());
  return text::make_tokenizer(std::move(parts));
}

}  // namespace lathe
