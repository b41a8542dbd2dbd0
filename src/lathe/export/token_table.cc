#include "lathe/export/token_table.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "lathe/base/mapped_file.h"
#include "lathe/base/parse_json.h"
#include "lathe/text/sentencepiece.h"
#include "lathe/text/vocabulary.h"

namespace lathe {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

enum Type : int32_t { kNormal = 1, kUnknown, kControl, kUserDefined, kUnused, kByte };

// True when a "type" anywhere below `node` is `name`.
bool mentions(const Json& node, const char* name) {
  if (node.is_object()) {
    const auto type = node.find("type");
    if (type != node.end() && *type == name) return true;
  }
  if (node.is_structured()) {
    for (const Json& child : node) {
      if (mentions(child, name)) return true;
    }
  }
  return false;
}

std::string charsmap_of(const Json& node) {
  if (node.is_object() && node.contains("precompiled_charsmap")) {
    const Json& text = node["precompiled_charsmap"];
    return text.is_string() ? text.get<std::string>() : std::string();
  }
  if (node.is_structured()) {
    for (const Json& child : node) {
      if (std::string found = charsmap_of(child); !found.empty()) return found;
    }
  }
  return {};
}

Result<std::string> base64(const std::string& text) {
  std::string out;
  uint32_t bits = 0;
  int count = 0;
  for (const char c : text) {
    if (c == '=') break;
    const int value = c >= 'A' && c <= 'Z'   ? c - 'A'
                      : c >= 'a' && c <= 'z' ? c - 'a' + 26
                      : c >= '0' && c <= '9' ? c - '0' + 52
                      : c == '+'             ? 62
                      : c == '/'             ? 63
                                             : -1;
    if (value < 0) return bad_input("precompiled_charsmap is not base64");
    bits = bits << 6 | static_cast<uint32_t>(value);
    count += 6;
    if (count >= 8) out += static_cast<char>(bits >> (count -= 8) & 255);
  }
  return out;
}

// "a b" as text, or ["a", "b"].
Result<std::string> merge_text(const Json& merge) {
  if (merge.is_string()) return merge.get<std::string>();
  if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
    return merge[0].get<std::string>() + " " + merge[1].get<std::string>();
  }
  return bad_input("a merge is not a pair of tokens");
}

class Builder {
 public:
  Builder(const Tokenizer& tokenizer, int64_t vocab) : tokenizer_(tokenizer), vocab_(vocab) {
    table_.tokens.resize(static_cast<size_t>(vocab));
    table_.types.assign(static_cast<size_t>(vocab), kUnused);
  }

  Status put(const std::string& token, int64_t id, int32_t type) {
    if (id < 0 || id >= vocab_) {
      return bad_input("token '{}' has the id {}, the model has {} embeddings", token, id, vocab_);
    }
    table_.tokens[static_cast<size_t>(id)] = token;
    table_.types[static_cast<size_t>(id)] = type;
    return {};
  }

  Status from_json(const Json& json) {
    if (!json.contains("model") || !json["model"].is_object()) {
      return bad_input("tokenizer.json has no model");
    }
    const Json& model = json["model"];
    const std::string type = member_or(model, "type", model.contains("merges") ? "BPE" : "");
    if (type == "Unigram") {
      LATHE_OK(unigram(model));
      LATHE_TRY(table_.charsmap, base64(charsmap_of(member_or(json, "normalizer", Json()))));
    } else if (type == "BPE") {
      const bool byte_level = mentions(member_or(json, "pre_tokenizer", Json()), "ByteLevel") ||
                              mentions(member_or(json, "decoder", Json()), "ByteLevel");
      LATHE_OK(bpe(model, byte_level));
    } else {
      return unsupported("a tokenizer of type '{}' cannot be written as GGUF", type);
    }
    const auto added = json.find("added_tokens");
    if (added == json.end() || !added->is_array()) return {};
    for (const Json& token : *added) {
      if (!token.is_object() || !token.contains("id") || !token["id"].is_number_integer()) continue;
      LATHE_OK(added_token(member_or(token, "content", ""), token["id"].get<int64_t>(),
                           member_or(token, "special", false)));
    }
    return {};
  }

  Status from_sentencepiece(std::string_view bytes) {
    LATHE_TRY(const text::SentencePieces pieces, text::read_sentencepiece_model(bytes));
    table_.model = pieces.rules.unigram ? "t5" : "llama";
    table_.charsmap = pieces.rules.charsmap;
    table_.unknown = pieces.unk;
    table_.scores.assign(static_cast<size_t>(vocab_), 0.0f);
    using Piece = text::Bpe::PieceType;
    for (size_t i = 0; i < pieces.pieces.size(); ++i) {
      const Piece piece = pieces.types[i];
      const int32_t type = piece == Piece::kUnknown       ? kUnknown
                           : piece == Piece::kControl     ? kControl
                           : piece == Piece::kUserDefined ? kUserDefined
                           : piece == Piece::kUnused      ? kUnused
                           : piece == Piece::kByte        ? kByte
                                                          : kNormal;
      LATHE_OK(put(pieces.pieces[i], static_cast<int64_t>(i), type));
      table_.scores[i] = pieces.scores[i];
    }
    return more_tokens(static_cast<int64_t>(pieces.pieces.size()));
  }

  Status from_vocab_and_merges(const Json& vocab, const std::string& merges) {
    table_.model = "gpt2";
    LATHE_OK(vocabulary(vocab));
    for (size_t begin = 0; begin < merges.size();) {
      const size_t end = std::min(merges.find('\n', begin), merges.size());
      std::string line = merges.substr(begin, end - begin);
      if (line.ends_with('\r')) line.pop_back();
      if (!line.empty() && !line.starts_with("#version")) table_.merges.push_back(std::move(line));
      begin = end + 1;
    }
    return more_tokens(static_cast<int64_t>(vocab.size()));
  }

  TokenTable finish() {
    for (size_t i = 0; i < table_.tokens.size(); ++i) {
      if (table_.tokens[i].empty()) table_.tokens[i] = fmt::format("[PAD{}]", i);
    }
    return std::move(table_);
  }

 private:
  Status added_token(const std::string& content, int64_t id, bool special) {
    if (id == table_.unknown && table_.model != "gpt2") return put(content, id, kUnknown);
    LATHE_OK(put(content, id, special ? kControl : kUserDefined));
    return {};
  }

  // Tokens of the tokenizer that no file of the vocabulary lists.
  Status more_tokens(int64_t from) {
    for (int64_t id = 0; id < tokenizer_.vocab_size(); ++id) {
      const auto token = static_cast<TokenId>(id);
      const bool special = tokenizer_.is_special(token);
      if (id == table_.unknown || (!special && id < from)) continue;
      if (id < vocab_ && special && id < from && table_.types[static_cast<size_t>(id)] == kNormal) {
        table_.types[static_cast<size_t>(id)] = kControl;
      }
      const std::string content = tokenizer_.token_of(token);
      if (id >= from && !content.empty()) LATHE_OK(added_token(content, id, special));
    }
    return {};
  }

  Status vocabulary(const Json& vocab) {
    if (!vocab.is_object()) return bad_input("the vocabulary is not an object");
    for (const auto& [token, id] : vocab.items()) {
      if (!id.is_number_integer()) return bad_input("token '{}' has no whole number as id", token);
      LATHE_OK(put(token, id.get<int64_t>(), kNormal));
    }
    return {};
  }

  Status bpe(const Json& model, bool byte_level) {
    LATHE_OK(vocabulary(member_or(model, "vocab", Json())));
    const Json merges = member_or(model, "merges", Json::array());
    table_.model = byte_level ? "gpt2" : "llama";
    if (!byte_level) table_.scores.assign(static_cast<size_t>(vocab_), -1e6f);
    int64_t rank = 0;
    for (const Json& merge : merges) {
      LATHE_TRY(std::string text, merge_text(merge));
      if (!byte_level) {
        const size_t space = text.find(' ', 1);
        if (space == std::string::npos) return bad_input("merge {} is not a pair", rank);
        set_score(text.substr(0, space) + text.substr(space + 1), static_cast<float>(-rank));
      } else {
        table_.merges.push_back(std::move(text));
      }
      ++rank;
    }
    if (byte_level) return {};
    if (model.contains("unk_token") && model["unk_token"].is_string()) {
      const auto id = tokenizer_.id_of(model["unk_token"].get<std::string>());
      if (id && *id < vocab_) table_.unknown = *id;
    }
    mark_bytes(member_or(model, "byte_fallback", false));
    return {};
  }

  // The first merge that makes a piece decides its rank.
  void set_score(const std::string& piece, float score) {
    const auto id = tokenizer_.id_of(piece);
    if (!id || *id < 0 || *id >= vocab_) return;
    float& known = table_.scores[static_cast<size_t>(*id)];
    known = std::max(known, score);
  }

  Status unigram(const Json& model) {
    table_.model = "t5";
    table_.scores.assign(static_cast<size_t>(vocab_), 0.0f);
    const Json pieces = member_or(model, "vocab", Json());
    if (!pieces.is_array()) return bad_input("the vocabulary is not a list");
    int64_t id = 0;
    for (const Json& piece : pieces) {
      if (!piece.is_array() || piece.size() != 2 || !piece[0].is_string() || !piece[1].is_number())
        return bad_input("entry {} of the vocabulary is not a piece and its score", id);
      LATHE_OK(put(piece[0].get<std::string>(), id, kNormal));
      table_.scores[static_cast<size_t>(id++)] = piece[1].get<float>();
    }
    if (model.contains("unk_id") && model["unk_id"].is_number_integer()) {
      const auto unknown = model["unk_id"].get<int64_t>();
      if (unknown >= 0 && unknown < vocab_) table_.unknown = unknown;
    }
    mark_bytes(member_or(model, "byte_fallback", false));
    return {};
  }

  void mark_bytes(bool byte_fallback) {
    if (table_.unknown >= 0) table_.types[static_cast<size_t>(table_.unknown)] = kUnknown;
    for (size_t i = 0; byte_fallback && i < table_.tokens.size(); ++i) {
      if (text::byte_of_token(table_.tokens[i])) table_.types[i] = kByte;
    }
  }

  const Tokenizer& tokenizer_;
  int64_t vocab_;
  TokenTable table_;
};

Result<Json> read_json(const fs::path& path) {
  LATHE_TRY(const std::string text, read_text(path.string()));
  Json json = Json::parse(text, nullptr, false);
  if (json.is_discarded() || !json.is_object()) {
    return bad_input("{}: not a JSON object", path.filename().string());
  }
  return json;
}

}  // namespace

Result<TokenTable> read_token_table(const std::string& directory, const Tokenizer& tokenizer,
                                    int64_t vocab) {
  const fs::path dir(directory);
  Builder builder(tokenizer, vocab);
  std::error_code error;
  if (fs::exists(dir / "tokenizer.json", error)) {
    LATHE_TRY(const Json json, read_json(dir / "tokenizer.json"));
    try {
      LATHE_OK(builder.from_json(json));
    } catch (const Json::exception& e) {  // a field of an unexpected type
      return bad_input("tokenizer.json: {}", e.what());
    }
  } else if (fs::exists(dir / "tokenizer.model", error)) {
    LATHE_TRY(const std::string bytes, read_text((dir / "tokenizer.model").string()));
    LATHE_OK(builder.from_sentencepiece(bytes));
  } else {
    LATHE_TRY(const Json json, read_json(dir / "vocab.json"));
    LATHE_TRY(const std::string merges, read_text((dir / "merges.txt").string()));
    LATHE_OK(builder.from_vocab_and_merges(json, merges));
  }
  return builder.finish();
}

}  // namespace lathe
