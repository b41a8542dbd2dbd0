#include "lathe/text/sentencepiece.h"

#include "lathe/base/hash.h"
#include "lathe/text/unicode.h"
#include "lathe/text/unigram.h"

namespace lathe::text {
namespace {

constexpr const char* kMark = "\xe2\x96\x81";  // U+2581

// The steps and their order are those of sentencepiece's normalizer.cc.
class SentencePieceNormalizer final : public Normalizer {
 public:
  void apply(std::string& text) const override { apply_at(text, true); }

  void apply_at(std::string& text, bool at_start) const override {
    const std::string space = rules.escape_whitespaces ? kMark : " ";
    std::string_view rest = text;
    if (rules.remove_extra_whitespaces) {
      while (!rest.empty()) {
        const auto [replacement, length] = first(rest);
        if (replacement != " ") break;
        rest.remove_prefix(length);
      }
    }
    std::string out;
    if (rest.empty()) {
      text.clear();
      return;
    }
    out.reserve(rest.size() + rest.size() / 2);
    const bool affix = rules.add_dummy_prefix && (at_start || rules.prefix_each);
    if (affix && !rules.whitespace_as_suffix) out += space;
    bool after_space = rules.remove_extra_whitespaces;
    while (!rest.empty()) {
      const auto [replacement, length] = first(rest);
      std::string_view piece = replacement;
      while (after_space && piece.starts_with(' ')) piece.remove_prefix(1);
      if (!piece.empty()) {
        for (const char c : piece) {
          if (c == ' ') {
            out += space;
          } else {
            out += c;
          }
        }
        after_space = piece.ends_with(' ');
      }
      rest.remove_prefix(length);
      if (!rules.remove_extra_whitespaces) after_space = false;
    }
    if (rules.remove_extra_whitespaces)
      while (out.ends_with(space)) out.resize(out.size() - space.size());
    if (affix && rules.whitespace_as_suffix) out += space;
    text = std::move(out);
  }

  SentencePieceRules rules;
  Charsmap map;
  Trie user_defined;  // left as they are

 private:
  // What the beginning of `text` becomes, and how many bytes that replaces.
  std::pair<std::string_view, size_t> first(std::string_view text) const {
    if (const auto match = user_defined.longest_prefix(text))
      return {text.substr(0, match->length), match->length};
    if (const auto match = map.longest(text)) return {match->replacement, match->length};
    const size_t length = utf8_length(text[0]);
    return {text.substr(0, length), length};
  }
};

}  // namespace

Result<Parts> make_sentencepiece_parts(SentencePieces pieces) {
  using Type = Bpe::PieceType;
  const SentencePieceRules& rules = pieces.rules;
  Parts parts;
  Sha256 hash;
  std::vector<std::pair<std::string, TokenId>> entries;
  const auto size = static_cast<TokenId>(pieces.pieces.size());
  for (TokenId id = 0; id < size; ++id) {
    std::string storage;
    // A piece that is no UTF-8 can match no text; it keeps its id and a readable name.
    const std::string piece(valid_utf8(pieces.pieces[id], storage));
    hash.update(
        fmt::format("{} {} {} ", id, pieces.scores[id], static_cast<int>(pieces.types[id])));
    hash.update(pieces.pieces[id]);
    entries.emplace_back(piece, id);
  }
  hash.update(fmt::format("{}{}{}{}{}{}{}", rules.unigram, rules.byte_fallback,
                          rules.add_dummy_prefix, rules.prefix_each, rules.remove_extra_whitespaces,
                          rules.escape_whitespaces, rules.whitespace_as_suffix));
  hash.update(rules.charsmap);
  parts.hash = hash.hex();
  LATHE_TRY(Vocabulary vocabulary, Vocabulary::make(std::move(entries)));
  parts.vocabulary = std::make_unique<Vocabulary>(std::move(vocabulary));

  auto normalizer = std::make_unique<SentencePieceNormalizer>();
  LATHE_TRY_IN(normalizer->map, Charsmap::parse(rules.charsmap), "precompiled_charsmap");
  normalizer->rules = rules;
  const bool has_unk = pieces.unk >= 0 && pieces.unk < size;
  for (TokenId id = 0; id < size; ++id) {
    const Type type = pieces.types[id];
    const std::string& piece = parts.vocabulary->token(id);
    if (type == Type::kUserDefined) normalizer->user_defined.insert(piece, id);
    if (type == Type::kControl || (type == Type::kUnknown && has_unk)) {
      AddedToken token;
      token.id = id;
      token.content = piece;
      token.special = true;
      parts.added.push_back(std::move(token));
    }
  }
  parts.normalizer = std::move(normalizer);

  if (rules.unigram) {
    UnigramOptions options;
    if (has_unk) options.unk = pieces.unk;
    options.byte_fallback = rules.byte_fallback;
    options.sentencepiece = true;
    LATHE_TRY(parts.model,
              Unigram::make(*parts.vocabulary, {pieces.scores.begin(), pieces.scores.end()},
                            pieces.types, options));
  } else {
    BpeOptions options;
    if (has_unk) options.unk_token = parts.vocabulary->token(pieces.unk);
    options.fuse_unk = true;
    options.byte_fallback = rules.byte_fallback;
    LATHE_TRY(parts.model,
              Bpe::from_scores(*parts.vocabulary, pieces.scores, pieces.types, std::move(options)));
  }
  Json steps = Json::array();
  if (rules.escape_whitespaces)
    steps.push_back({{"type", "Replace"}, {"pattern", {{"String", kMark}}}, {"content", " "}});
  if (rules.byte_fallback) steps.push_back({{"type", "ByteFallback"}});
  steps.push_back({{"type", "Fuse"}});
  if (rules.add_dummy_prefix)
    steps.push_back({{"type", "Strip"},
                     {"content", " "},
                     {"start", rules.whitespace_as_suffix ? 0 : 1},
                     {"stop", rules.whitespace_as_suffix ? 1 : 0}});
  LATHE_TRY(parts.decoder, make_decoder({{"type", "Sequence"}, {"decoders", steps}}));
  if (pieces.bos >= 0) parts.bos = pieces.bos;
  if (pieces.eos >= 0) parts.eos = pieces.eos;
  return parts;
}

Result<Parts> parse_sentencepiece(std::string_view bytes, bool prefix_each) {
  LATHE_TRY(SentencePieces pieces, read_sentencepiece_model(bytes));
  pieces.rules.prefix_each = prefix_each;
  return make_sentencepiece_parts(std::move(pieces));
}

}  // namespace lathe::text
