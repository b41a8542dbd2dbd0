#include "lathe/text/pipeline.h"

#include <algorithm>

#include "lathe/text/byte_level.h"
#include "lathe/text/unicode.h"

namespace lathe::text {
namespace {

class Pipeline final : public Tokenizer {
 public:
  explicit Pipeline(Parts parts) : parts_(std::move(parts)) {
    added_.set(std::move(parts_.added), parts_.normalizer.get());
    end_ = parts_.vocabulary->end();
    for (const AddedToken& token : added_.all()) end_ = std::max(end_, token.id + 1);
    adds_bos_ = parts_.bos && !parts_.prefix.empty() && parts_.prefix[0] == *parts_.bos;
  }

  std::vector<TokenId> encode(std::string_view input, const EncodeOptions& options) const override {
    std::vector<TokenId> ids;
    std::string storage;
    const std::string_view text = valid_utf8(input, storage);
    std::unique_ptr<Scratch> scratch = borrow();
    if (options.add_special) ids = parts_.prefix;
    ids.reserve(text.size() / 3 + 8);
    std::vector<AddedTokens::Piece> pieces;
    added_.split(text, false, options.parse_special, pieces);
    for (const auto& piece : pieces) {
      if (piece.token >= 0) {
        ids.push_back(piece.token);
      } else {
        encode_piece(piece.text, piece.text.data() == text.data(), options.parse_special, *scratch,
                     ids);
      }
    }
    if (options.add_special) ids.insert(ids.end(), parts_.suffix.begin(), parts_.suffix.end());
    give_back(std::move(scratch));
    return ids;
  }

  std::string decode(const std::vector<TokenId>& ids, bool skip_special) const override {
    std::vector<std::string> tokens;
    tokens.reserve(ids.size());
    for (const TokenId id : ids) {
      if (const AddedToken* added = added_.find(id)) {
        if (!skip_special || !added->special) tokens.push_back(added->content);
      } else if (parts_.vocabulary->has(id)) {
        tokens.push_back(parts_.vocabulary->token(id));
      }
    }
    if (parts_.decoder) parts_.decoder->apply(tokens);
    std::string out;
    for (size_t i = 0; i < tokens.size(); ++i) {
      if (!parts_.decoder && i > 0) out += ' ';
      out += tokens[i];
    }
    return out;
  }

  int64_t vocab_size() const override { return end_; }
  std::optional<TokenId> id_of(std::string_view token) const override {
    if (const AddedToken* added = added_.find(token)) return added->id;
    return parts_.vocabulary->find(token);
  }
  std::string token_of(TokenId id) const override {
    if (const AddedToken* added = added_.find(id)) return added->content;
    return parts_.vocabulary->token(id);
  }
  bool is_special(TokenId id) const override {
    const AddedToken* added = added_.find(id);
    return added && added->special;
  }
  std::optional<TokenId> bos() const override { return parts_.bos; }
  std::optional<TokenId> eos() const override { return parts_.eos; }
  bool adds_bos() const override { return adds_bos_; }
  std::string kind() const override { return parts_.model->kind(); }
  std::string hash() const override { return parts_.hash; }
  const std::string& chat_template() const override { return parts_.chat_template; }

 private:
  // Text without raw added tokens; `at_start` when it begins the whole input.
  void encode_piece(std::string_view raw, bool at_start, bool parse_special, Scratch& scratch,
                    std::vector<TokenId>& ids) const {
    std::string normalized;
    std::string_view text = raw;
    if (parts_.normalizer) {
      normalized.assign(raw);
      parts_.normalizer->apply_at(normalized, at_start);
      text = normalized;
    }
    std::vector<AddedTokens::Piece> pieces;
    added_.split(text, true, parse_special, pieces);
    for (const auto& piece : pieces) {
      if (piece.token >= 0) {
        ids.push_back(piece.token);
        continue;
      }
      if (!parts_.pre_tokenizer) {
        parts_.model->tokenize(piece.text, scratch, ids);
        continue;
      }
      Words words;
      words.words.push_back(piece.text);
      words.at_start = at_start && piece.text.data() == text.data();
      parts_.pre_tokenizer->apply(words);
      for (const std::string_view word : words.words) {
        if (words.byte_level) {
          parts_.model->tokenize_bytes(word, scratch, ids);
        } else {
          parts_.model->tokenize(word, scratch, ids);
        }
      }
    }
  }

  std::unique_ptr<Scratch> borrow() const {
    const std::lock_guard lock(mutex_);
    if (idle_.empty()) return std::make_unique<Scratch>();
    auto scratch = std::move(idle_.back());
    idle_.pop_back();
    return scratch;
  }
  void give_back(std::unique_ptr<Scratch> scratch) const {
    const std::lock_guard lock(mutex_);
    idle_.push_back(std::move(scratch));
  }

  Parts parts_;
  AddedTokens added_;
  TokenId end_ = 0;
  bool adds_bos_ = false;
  mutable std::mutex mutex_;
  mutable std::vector<std::unique_ptr<Scratch>> idle_;
};

}  // namespace

std::shared_ptr<const Tokenizer> make_tokenizer(Parts parts) {
  return std::make_shared<Pipeline>(std::move(parts));
}

std::optional<TokenId> find_token(const Parts& parts, std::string_view content) {
  for (auto it = parts.added.rbegin(); it != parts.added.rend(); ++it)
    if (it->content == content) return it->id;
  return parts.vocabulary->find(content);
}

}  // namespace lathe::text
