#include "lathe/text/added_tokens.h"

#include <algorithm>

#include "lathe/text/unicode.h"

namespace lathe::text {
namespace {

size_t character_before(std::string_view text, size_t end) {
  size_t begin = end - 1;
  while (begin > 0 && (static_cast<uint8_t>(text[begin]) & 0xc0) == 0x80) --begin;
  return begin;
}

bool word_at(std::string_view text, size_t at) {
  return at < text.size() && is_word(decode_utf8(text.substr(at)).c);
}

}  // namespace

void AddedTokens::set(std::vector<AddedToken> tokens, const Normalizer* normalizer) {
  std::unordered_map<TokenId, size_t> last_id;
  std::unordered_map<std::string, size_t> last_content;
  for (size_t i = 0; i < tokens.size(); ++i) {
    last_id[tokens[i].id] = i;
    last_content[tokens[i].content] = i;
  }
  tokens_.clear();
  for (size_t i = 0; i < tokens.size(); ++i)
    if (!tokens[i].content.empty() && last_id[tokens[i].id] == i &&
        last_content[tokens[i].content] == i)
      tokens_.push_back(std::move(tokens[i]));
  for (size_t i = 0; i < tokens_.size(); ++i) {
    const AddedToken& t = tokens_[i];
    by_id_[t.id] = i;
    by_content_[t.content] = i;
    // What is no UTF-8 (possible in GGUF files) would cut characters apart; text has none of it.
    std::string storage;
    if (valid_utf8(t.content, storage).data() != t.content.data()) continue;
    if (t.normalized && normalizer) {
      std::string content = t.content;
      normalizer->apply(content);
      normalized_.insert(content, static_cast<int32_t>(i));
    } else {
      (t.normalized ? normalized_ : raw_).insert(t.content, static_cast<int32_t>(i));
    }
  }
}

void AddedTokens::split(std::string_view text, bool normalized, bool special,
                        std::vector<Piece>& out) const {
  const Trie& trie = normalized ? normalized_ : raw_;
  if (trie.empty()) {
    if (!text.empty()) out.push_back({text, -1});
    return;
  }
  size_t done = 0;
  for (size_t at = 0; at < text.size();) {
    const auto match = trie.longest_prefix(text.substr(at));
    if (!match) {
      ++at;
      continue;
    }
    const AddedToken& token = tokens_[match->value];
    size_t begin = at, end = at + match->length;
    at = end;  // also when the match is discarded below: the search goes on behind it
    if (token.special && !special) continue;
    if (token.single_word &&
        (word_at(text, end) || (begin > 0 && word_at(text, character_before(text, begin)))))
      continue;
    if (token.lstrip) {
      while (begin > done) {
        const size_t before = character_before(text, begin);
        if (!is_white_space(decode_utf8(text.substr(before)).c)) break;
        begin = before;
      }
      begin = std::max(begin, done);
    }
    if (token.rstrip) {
      while (end < text.size()) {
        const Decoded d = decode_utf8(text.substr(end));
        if (!is_white_space(d.c)) break;
        end += d.length;
      }
    }
    if (done < begin) out.push_back({text.substr(done, begin - done), -1});
    out.push_back({text.substr(begin, end - begin), token.id});
    done = end;
  }
  if (done < text.size()) out.push_back({text.substr(done), -1});
}

const AddedToken* AddedTokens::find(TokenId id) const {
  const auto it = by_id_.find(id);
  return it == by_id_.end() ? nullptr : &tokens_[it->second];
}

const AddedToken* AddedTokens::find(std::string_view content) const {
  const auto it = by_content_.find(content);
  return it == by_content_.end() ? nullptr : &tokens_[it->second];
}

}  // namespace lathe::text
