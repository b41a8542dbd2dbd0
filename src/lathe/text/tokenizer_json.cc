// tokenizer.json of Hugging Face tokenizers. Truncation and padding are the caller's business and
// ignored; any other component that is not known here is refused by name.
#include "lathe/base/hash.h"
#include "lathe/base/parse_json.h"
#include "lathe/text/bpe.h"
#include "lathe/text/json_fields.h"
#include "lathe/text/pipeline.h"
#include "lathe/text/unigram.h"
#include "lathe/text/wordpiece.h"

namespace lathe::text {
namespace {

Result<TokenId> token_id(const Json& value, std::string_view what) {
  if (!value.is_number_integer() || value.get<int64_t>() < 0 || value.get<int64_t>() > (1 << 23))
    return bad_input("{}: the id {} is no token id", what, shown(value));
  return static_cast<TokenId>(value.get<int64_t>());
}

Result<std::unique_ptr<Vocabulary>> read_vocab(const Json& model) {
  const auto vocab = model.find("vocab");
  if (vocab == model.end() || !vocab->is_object()) return bad_input("'vocab' is not an object");
  std::vector<std::pair<std::string, TokenId>> entries;
  entries.reserve(vocab->size());
  for (const auto& [token, value] : vocab->items()) {
    LATHE_TRY(const TokenId id, token_id(value, token));
    entries.emplace_back(token, id);
  }
  LATHE_TRY(Vocabulary v, Vocabulary::make(std::move(entries)));
  return std::make_unique<Vocabulary>(std::move(v));
}

// "a b", or ["a", "b"].
Result<Bpe::Pairs> read_merges(const Json& model) {
  LATHE_TRY(const Json* list, array_field(model, "merges"));
  Bpe::Pairs merges;
  merges.reserve(list->size());
  for (const Json& m : *list) {
    if (m.is_string()) {
      const auto& line = m.get_ref<const std::string&>();
      const size_t space = line.find(' ');
      if (space == std::string::npos || line.find(' ', space + 1) != std::string::npos)
        return bad_input("merge {}: '{}' is not two tokens", merges.size(), line);
      merges.emplace_back(line.substr(0, space), line.substr(space + 1));
    } else if (m.is_array() && m.size() == 2 && m[0].is_string() && m[1].is_string()) {
      merges.emplace_back(m[0].get<std::string>(), m[1].get<std::string>());
    } else {
      return bad_input("merge {} is not two tokens", merges.size());
    }
  }
  return merges;
}

Status read_bpe(const Json& model, Parts& parts) {
  if (!is_absent(model, "dropout") && model["dropout"] != 0.0)
    return unsupported("BPE with dropout: its results are random");
  BpeOptions options;
  LATHE_TRY(options.unk_token, string_field(model, "unk_token", ""));
  LATHE_TRY(options.continuing_subword_prefix,
            string_field(model, "continuing_subword_prefix", ""));
  LATHE_TRY(options.end_of_word_suffix, string_field(model, "end_of_word_suffix", ""));
  LATHE_TRY(options.fuse_unk, bool_field(model, "fuse_unk", false));
  LATHE_TRY(options.byte_fallback, bool_field(model, "byte_fallback", false));
  LATHE_TRY(options.ignore_merges, bool_field(model, "ignore_merges", false));
  LATHE_TRY(parts.vocabulary, read_vocab(model));
  LATHE_TRY(const Bpe::Pairs merges, read_merges(model));
  LATHE_TRY(parts.model, Bpe::from_merges(*parts.vocabulary, merges, std::move(options)));
  return {};
}

Status read_unigram(const Json& model, Parts& parts) {
  LATHE_TRY(const Json* list, array_field(model, "vocab"));
  std::vector<std::pair<std::string, TokenId>> entries;
  std::vector<double> scores;
  for (const Json& entry : *list) {
    if (!entry.is_array() || entry.size() != 2 || !entry[0].is_string() || !entry[1].is_number())
      return bad_input("'vocab' entry {} is not [token, score]", scores.size());
    entries.emplace_back(entry[0].get<std::string>(), static_cast<TokenId>(scores.size()));
    scores.push_back(entry[1].get<double>());
  }
  LATHE_TRY(Vocabulary v, Vocabulary::make(std::move(entries)));
  parts.vocabulary = std::make_unique<Vocabulary>(std::move(v));
  UnigramOptions options;
  if (!is_absent(model, "unk_id")) {
    LATHE_TRY(options.unk, token_id(model["unk_id"], "unk_id"));
  }
  LATHE_TRY(options.byte_fallback, bool_field(model, "byte_fallback", false));
  LATHE_TRY(parts.model, Unigram::make(*parts.vocabulary, std::move(scores), {}, options));
  return {};
}

Status read_wordpiece(const Json& model, Parts& parts) {
  LATHE_TRY(parts.vocabulary, read_vocab(model));
  LATHE_TRY(const std::string unk, string_field(model, "unk_token", "[UNK]"));
  LATHE_TRY(std::string prefix, string_field(model, "continuing_subword_prefix", "##"));
  LATHE_TRY(const int64_t longest, int_field(model, "max_input_chars_per_word", 100));
  LATHE_TRY(parts.model, WordPiece::make(*parts.vocabulary, unk, std::move(prefix), longest));
  return {};
}

Status read_model(const Json& root, Parts& parts) {
  const auto model = root.find("model");
  if (model == root.end() || !model->is_object()) return bad_input("'model' is not an object");
  // Files of the first versions name no type.
  std::string type;
  if (is_absent(*model, "type")) {
    type = model->contains("merges")                                  ? "BPE"
           : model->contains("vocab") && (*model)["vocab"].is_array() ? "Unigram"
                                                                      : "WordPiece";
  } else {
    LATHE_TRY(type, string_field(*model, "type"));
  }
  if (type == "BPE") return read_bpe(*model, parts);
  if (type == "Unigram") return read_unigram(*model, parts);
  if (type == "WordPiece") return read_wordpiece(*model, parts);
  return unsupported("model '{}'", type);
}

Status read_added(const Json& root, Parts& parts) {
  if (is_absent(root, "added_tokens")) return {};
  LATHE_TRY(const Json* list, array_field(root, "added_tokens"));
  for (const Json& entry : *list) {
    if (!entry.is_object() || !entry.contains("id"))
      return bad_input("an added token without 'id'");
    AddedToken token;
    LATHE_TRY(token.content, string_field(entry, "content"));
    LATHE_TRY(token.id, token_id(entry["id"], token.content));
    LATHE_TRY(token.special, bool_field(entry, "special", false));
    LATHE_TRY(token.normalized, bool_field(entry, "normalized", !token.special));
    LATHE_TRY(token.single_word, bool_field(entry, "single_word", false));
    LATHE_TRY(token.lstrip, bool_field(entry, "lstrip", false));
    LATHE_TRY(token.rstrip, bool_field(entry, "rstrip", false));
    // The reference gives a token that the vocabulary has already that id.
    if (const auto known = parts.vocabulary->find(token.content)) token.id = *known;
    parts.added.push_back(std::move(token));
  }
  return {};
}

Status read_template(const Json& spec, Parts& parts) {
  LATHE_TRY(const Json* single, array_field(spec, "single"));
  std::vector<TokenId> before, after;
  bool seen = false;
  for (const Json& item : *single) {
    if (item.is_object() && item.contains("Sequence")) {
      if (seen) return unsupported("a template with the text twice");
      seen = true;
      continue;
    }
    if (!item.is_object() || !item.contains("SpecialToken") || !item["SpecialToken"].is_object())
      return bad_input("a template item is neither 'Sequence' nor 'SpecialToken'");
    LATHE_TRY(const std::string name, string_field(item["SpecialToken"], "id"));
    if (!spec.contains("special_tokens") || !spec["special_tokens"].is_object() ||
        !spec["special_tokens"].contains(name) || !spec["special_tokens"][name].is_object())
      return bad_input("the template's token '{}' is not in 'special_tokens'", name);
    LATHE_TRY(const Json* ids, array_field(spec["special_tokens"][name], "ids"));
    for (const Json& value : *ids) {
      LATHE_TRY(const TokenId id, token_id(value, name));
      (seen ? after : before).push_back(id);
    }
  }
  if (!seen) return bad_input("a template without 'Sequence'");
  parts.prefix.insert(parts.prefix.begin(), before.begin(), before.end());
  parts.suffix.insert(parts.suffix.end(), after.begin(), after.end());
  return {};
}

Status read_post_processor(const Json& spec, Parts& parts, int depth) {
  LATHE_TRY(const std::string type, type_of(spec));
  if (depth > kMaxDepth) return bad_input("sequences nested deeper than {}", kMaxDepth);
  if (type == "ByteLevel") return {};  // changes offsets only
  if (type == "TemplateProcessing") return read_template(spec, parts);
  if (type == "BertProcessing" || type == "RobertaProcessing") {
    const auto id = [&](const char* key) -> Result<TokenId> {
      LATHE_TRY(const Json* pair, array_field(spec, key));
      if (pair->size() != 2) return bad_input("'{}' is not [token, id]", key);
      return token_id((*pair)[1], key);
    };
    LATHE_TRY(const TokenId cls, id("cls"));
    LATHE_TRY(const TokenId sep, id("sep"));
    parts.prefix.insert(parts.prefix.begin(), cls);
    parts.suffix.push_back(sep);
    return {};
  }
  if (type == "Sequence") {
    LATHE_TRY(const Json* list, array_field(spec, "processors"));
    for (const Json& part : *list) LATHE_OK(read_post_processor(part, parts, depth + 1));
    return {};
  }
  return unsupported("post-processor '{}'", type);
}

}  // namespace

Result<Parts> parse_tokenizer_json(std::string_view source) {
  LATHE_TRY(const Json root, parse_json<Json>(source));
  if (!root.is_object()) return bad_input("not a JSON object");
  Parts parts;
  LATHE_OK_IN(read_model(root, parts), "model");
  LATHE_OK_IN(read_added(root, parts), "added_tokens");
  if (!is_absent(root, "normalizer")) {
    LATHE_TRY_IN(parts.normalizer, make_normalizer(root["normalizer"]), "normalizer");
  }
  if (!is_absent(root, "pre_tokenizer")) {
    LATHE_TRY_IN(parts.pre_tokenizer, make_pre_tokenizer(root["pre_tokenizer"]), "pre_tokenizer");
  }
  if (!is_absent(root, "decoder")) {
    LATHE_TRY_IN(parts.decoder, make_decoder(root["decoder"]), "decoder");
  }
  if (!is_absent(root, "post_processor"))
    LATHE_OK_IN(read_post_processor(root["post_processor"], parts, 0), "post_processor");
  parts.hash = sha256_hex(source);
  return parts;
}

}  // namespace lathe::text
