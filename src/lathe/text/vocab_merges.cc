// vocab.json + merges.txt: byte-level BPE whose other rules go by a name.
#include "lathe/base/hash.h"
#include "lathe/base/parse_json.h"
#include "lathe/text/bpe.h"
#include "lathe/text/bpe_schemes.h"
#include "lathe/text/json_fields.h"
#include "lathe/text/pipeline.h"

namespace lathe::text {
namespace {

Result<Bpe::Pairs> read_merges(std::string_view text) {
  Bpe::Pairs merges;
  for (size_t line_number = 1; !text.empty(); ++line_number) {
    const size_t end = text.find('\n');
    std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty() || line.starts_with("#version")) continue;
    const size_t space = line.find(' ');
    if (space == std::string_view::npos || line.find(' ', space + 1) != std::string_view::npos)
      return bad_input("line {}: '{}' is not two tokens", line_number, line);
    merges.emplace_back(line.substr(0, space), line.substr(space + 1));
  }
  return merges;
}

}  // namespace

Result<Parts> parse_vocab_and_merges(std::string_view vocab_json, std::string_view merges,
                                     const std::string& scheme_name, bool add_prefix_space) {
  const BpeScheme* scheme = find_bpe_scheme(scheme_name);
  LATHE_CHECK(scheme);
  Parts parts;
  LATHE_TRY_IN(Json vocab, parse_json<Json>(vocab_json), "vocab.json");
  if (!vocab.is_object()) return bad_input("vocab.json: not an object");
  std::vector<std::pair<std::string, TokenId>> entries;
  entries.reserve(vocab.size());
  for (const auto& [token, id] : vocab.items()) {
    if (!id.is_number_integer() || id.get<int64_t>() < 0 || id.get<int64_t>() > (1 << 23))
      return bad_input("vocab.json: '{}' has the id {}", token, shown(id));
    entries.emplace_back(token, static_cast<TokenId>(id.get<int64_t>()));
  }
  LATHE_TRY_IN(Vocabulary vocabulary, Vocabulary::make(std::move(entries)), "vocab.json");
  parts.vocabulary = std::make_unique<Vocabulary>(std::move(vocabulary));
  LATHE_TRY_IN(const Bpe::Pairs pairs, read_merges(merges), "merges.txt");
  BpeOptions options;
  options.ignore_merges = scheme->ignore_merges;
  LATHE_TRY_IN(parts.model, Bpe::from_merges(*parts.vocabulary, pairs, std::move(options)),
               "merges.txt");
  LATHE_TRY(parts.pre_tokenizer, make_byte_level(scheme->patterns, add_prefix_space));
  if (scheme->nfc) parts.normalizer = make_nfc();
  LATHE_TRY(parts.decoder, make_decoder({{"type", "ByteLevel"}}));
  Sha256 hash;
  hash.update(vocab_json);
  hash.update(merges);
  hash.update(scheme_name + (add_prefix_space ? " with prefix space" : ""));
  parts.hash = hash.hex();
  return parts;
}

}  // namespace lathe::text
