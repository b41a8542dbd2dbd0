#include "lathe/text/bpe.h"

#include <algorithm>
#include <limits>
#include <map>
#include <queue>

#include "lathe/text/byte_level.h"
#include "lathe/text/unicode.h"

namespace lathe::text {
namespace {

constexpr std::string_view kMark = "\xe2\x96\x81";  // U+2581, SentencePiece's space
constexpr uint32_t kNever = std::numeric_limits<uint32_t>::max();
// Up to here a scan for the lowest rank is faster than a heap.
constexpr size_t kShortWord = 48;

uint64_t pair_key(TokenId left, TokenId right) {
  return (uint64_t{static_cast<uint32_t>(left)} << 32) | static_cast<uint32_t>(right);
}

bool is_one_character(std::string_view text) {
  return !text.empty() && static_cast<size_t>(utf8_length(text[0])) == text.size();
}

// Whether the mark follows another character somewhere in `token`.
bool has_inner_mark(std::string_view token) {
  for (size_t at = token.find(kMark, 1); at != std::string_view::npos;
       at = token.find(kMark, at + 1))
    if (!token.substr(0, at).ends_with(kMark)) return true;
  return false;
}

}  // namespace

void TokenModel::tokenize_bytes(std::string_view bytes, Scratch& scratch,
                                std::vector<TokenId>& ids) const {
  tokenize(bytes_to_alphabet(bytes), scratch, ids);
}

Status Bpe::prepare(BpeOptions options) {
  options_ = std::move(options);
  for (const std::string* affix :
       {&options_.continuing_subword_prefix, &options_.end_of_word_suffix})
    if (affix->size() > 256)
      return bad_input("a subword prefix or suffix of {} bytes", affix->size());
  bmp_symbols_.assign(0x10000, -1);
  cut_at_marks_ = vocabulary_.find(kMark).has_value() && !options_.ignore_merges &&
                  options_.continuing_subword_prefix.empty() && options_.end_of_word_suffix.empty();
  for (const auto& [token, id] : vocabulary_.entries()) {
    if (cut_at_marks_ && has_inner_mark(token)) cut_at_marks_ = false;
    if (!is_one_character(token)) continue;
    const Decoded d = decode_utf8(token);
    if (!d.valid) continue;
    if (d.c < 0x10000) {
      bmp_symbols_[d.c] = id;
    } else {
      other_symbols_[token] = id;
    }
  }
  bytes_complete_ = true;
  for (int b = 0; b < 256; ++b) {
    byte_symbols_[b] = symbol_of(to_utf8(byte_to_character(static_cast<uint8_t>(b))));
    byte_tokens_[b] = vocabulary_.byte_token(static_cast<uint8_t>(b)).value_or(-1);
    bytes_complete_ = bytes_complete_ && byte_tokens_[b] >= 0;
  }
  if (!options_.unk_token.empty()) {
    const auto unk = vocabulary_.find(options_.unk_token);
    if (!unk) return bad_input("unk_token '{}' is not in the vocabulary", options_.unk_token);
    unk_ = *unk;
  }
  if (options_.ignore_merges) {
    for (const auto& [token, id] : vocabulary_.entries())
      if (auto bytes = alphabet_to_bytes(token)) whole_words_[std::move(*bytes)] = id;
  }
  return {};
}

Result<std::unique_ptr<Bpe>> Bpe::from_merges(const Vocabulary& vocabulary, const Pairs& merges,
                                              BpeOptions options) {
  std::unique_ptr<Bpe> bpe(new Bpe(vocabulary));
  LATHE_OK(bpe->prepare(std::move(options)));
  const size_t skip = bpe->options_.continuing_subword_prefix.size();
  bpe->merges_ = FlatMap<Merge>(merges.size());
  std::string joined;
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const auto& [left, right] = merges[rank];
    const auto left_id = vocabulary.find(left), right_id = vocabulary.find(right);
    if (!left_id || !right_id)
      return bad_input("merge {} has '{}', which is not in the vocabulary", rank,
                       left_id ? right : left);
    if (right.size() < skip) return bad_input("merge {}: '{}' is too short", rank, right);
    joined.assign(left).append(right, skip);
    const auto id = vocabulary.find(joined);
    if (!id) return bad_input("merge {} makes '{}', which is not in the vocabulary", rank, joined);
    bpe->merges_[pair_key(*left_id, *right_id)] = {static_cast<uint32_t>(rank), *id};
  }
  return bpe;
}

Result<std::unique_ptr<Bpe>> Bpe::from_scores(const Vocabulary& vocabulary,
                                              const std::vector<float>& scores,
                                              const std::vector<PieceType>& types,
                                              BpeOptions options) {
  if (scores.size() != static_cast<size_t>(vocabulary.end()) || types.size() != scores.size())
    return bad_input("{} tokens, {} scores and {} types", vocabulary.end(), scores.size(),
                     types.size());
  std::unique_ptr<Bpe> bpe(new Bpe(vocabulary));
  LATHE_OK(bpe->prepare(std::move(options)));

  const auto may_merge = [&](TokenId id) {
    return types[id] == PieceType::kNormal || types[id] == PieceType::kUserDefined ||
           types[id] == PieceType::kUnused;
  };
  std::map<float, uint32_t, std::greater<>> ranks;
  for (TokenId id = 0; id < vocabulary.end(); ++id) {
    if (scores[id] != scores[id]) return bad_input("token {} has the score NaN", id);
    if (may_merge(id)) ranks[scores[id]] = 0;
    if (types[id] == PieceType::kUserDefined) bpe->user_defined_.insert(vocabulary.token(id), id);
    if (types[id] == PieceType::kUnused) bpe->unused_.resize(vocabulary.end());
  }
  uint32_t next = 0;
  for (auto& [score, rank] : ranks) rank = next++;

  std::unordered_map<std::string_view, TokenId> extra;
  const auto symbol = [&](std::string_view part) -> TokenId {
    if (const auto id = vocabulary.find(part); id && may_merge(*id)) return *id;
    if (!is_one_character(part)) return -1;
    const auto [it, added] = extra.try_emplace(
        part, vocabulary.end() + static_cast<TokenId>(bpe->extra_symbols_.size()));
    if (added) bpe->extra_symbols_.emplace_back(part);
    return it->second;
  };
  for (TokenId id = 0; id < vocabulary.end(); ++id) {
    if (!may_merge(id)) continue;
    if (types[id] == PieceType::kUnused) bpe->unused_[id] = true;
    const std::string_view token = vocabulary.token(id);
    if (vocabulary.find(token) != id) continue;
    // Pieces are words; a hostile one of megabytes would take quadratic time.
    if (token.size() > 4096) return bad_input("token {} has {} bytes", id, token.size());
    for (size_t at = token.empty() ? 0 : utf8_length(token[0]); at < token.size();
         at += utf8_length(token[at])) {
      const TokenId left = symbol(token.substr(0, at));
      const TokenId right = left < 0 ? -1 : symbol(token.substr(at));
      if (right >= 0) bpe->merges_[pair_key(left, right)] = {ranks[scores[id]], id};
    }
  }
  for (const auto& [character, id] : extra) {
    const Decoded d = decode_utf8(character);
    if (d.c < 0x10000) {
      bpe->bmp_symbols_[d.c] = id;
    } else {
      bpe->other_symbols_[std::string(character)] = id;
    }
  }
  return bpe;
}

TokenId Bpe::symbol_of(std::string_view character) const {
  const Decoded d = decode_utf8(character);
  if (d.c < 0x10000) return bmp_symbols_[d.c];
  const auto it = other_symbols_.find(std::string(character));
  return it == other_symbols_.end() ? -1 : it->second;
}

void Bpe::add_symbols(std::string_view word, std::vector<TokenId>& symbols) const {
  const bool plain =
      options_.continuing_subword_prefix.empty() && options_.end_of_word_suffix.empty();
  // An unknown run that is still open is written before the next known character, and so after
  // the byte tokens of what follows it: this is the reference's order.
  int unknown = 0;
  const auto flush = [&] {
    for (; unknown > 0; --unknown) symbols.push_back(unk_);
  };
  for (size_t i = 0; i < word.size();) {
    const std::string_view character = word.substr(i, utf8_length(word[i]));
    TokenId id;
    if (plain) {
      id = symbol_of(character);
    } else {
      std::string s = i == 0 ? std::string() : options_.continuing_subword_prefix;
      s += character;
      if (i + character.size() == word.size()) s += options_.end_of_word_suffix;
      id = vocabulary_.find(s).value_or(-1);
    }
    i += character.size();
    if (id >= 0) {
      flush();
      symbols.push_back(id);
      continue;
    }
    if (options_.byte_fallback && std::all_of(character.begin(), character.end(), [&](char b) {
          return byte_tokens_[static_cast<uint8_t>(b)] >= 0;
        })) {
      for (const char b : character) symbols.push_back(byte_tokens_[static_cast<uint8_t>(b)]);
      continue;
    }
    if (unk_ < 0) continue;
    if (unknown > 0 && !options_.fuse_unk) flush();
    unknown = 1;
  }
  flush();
}

const Bpe::Merge* Bpe::find_merge(TokenId left, TokenId right, Origins* origins) const {
  const Merge* m = merges_.find(pair_key(left, right));
  if (m && origins && unused_[m->id]) (*origins)[m->id] = {left, right};
  return m;
}

void Bpe::merge(std::vector<TokenId>& symbols, Origins* origins) const {
  if (symbols.size() < 2) return;
  if (symbols.size() <= kShortWord) {
    merge_short(symbols, origins);
  } else {
    merge_long(symbols, origins);
  }
}

void Bpe::merge_short(std::vector<TokenId>& symbols, Origins* origins) const {
  Merge next[kShortWord];  // of the pair that begins at each place
  size_t n = symbols.size();
  const auto look = [&](size_t i) {
    const Merge* m = find_merge(symbols[i], symbols[i + 1], origins);
    next[i] = m ? *m : Merge{kNever, -1};
  };
  for (size_t i = 0; i + 1 < n; ++i) look(i);
  while (n > 1) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < n; ++i)
      if (next[i].rank < next[best].rank) best = i;
    if (next[best].id < 0) break;
    symbols[best] = next[best].id;
    --n;
    for (size_t i = best + 1; i < n; ++i) {
      symbols[i] = symbols[i + 1];
      next[i] = next[i + 1];
    }
    if (best > 0) look(best - 1);
    if (best + 1 < n) look(best);
  }
  symbols.resize(n);
}

void Bpe::merge_long(std::vector<TokenId>& symbols, Origins* origins) const {
  struct Link {
    uint32_t previous, next;  // kNever at the ends
  };
  struct Candidate {
    uint32_t rank, at;
    TokenId left, right, id;
    bool operator>(const Candidate& o) const { return rank != o.rank ? rank > o.rank : at > o.at; }
  };
  const auto n = static_cast<uint32_t>(symbols.size());
  std::vector<Link> links(n);
  for (uint32_t i = 0; i < n; ++i) links[i] = {i == 0 ? kNever : i - 1, i + 1 < n ? i + 1 : kNever};
  std::vector<Candidate> initial;
  for (uint32_t i = 0; i + 1 < n; ++i)
    if (const Merge* m = find_merge(symbols[i], symbols[i + 1], origins))
      initial.push_back({m->rank, i, symbols[i], symbols[i + 1], m->id});
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue(std::greater<>(),
                                                                               std::move(initial));
  const auto look = [&](uint32_t i) {
    if (i == kNever || links[i].next == kNever) return;
    const TokenId right = symbols[links[i].next];
    if (const Merge* m = find_merge(symbols[i], right, origins))
      queue.push({m->rank, i, symbols[i], right, m->id});
  };
  constexpr TokenId kGone = -1;
  while (!queue.empty()) {
    const Candidate c = queue.top();
    queue.pop();
    const uint32_t right = links[c.at].next;
    if (symbols[c.at] != c.left || right == kNever || symbols[right] != c.right) continue;
    symbols[c.at] = c.id;
    symbols[right] = kGone;
    links[c.at].next = links[right].next;
    if (links[right].next != kNever) links[links[right].next].previous = c.at;
    look(links[c.at].previous);
    look(c.at);
  }
  std::erase(symbols, kGone);
}

void Bpe::emit(TokenId symbol, const Origins& origins, std::vector<TokenId>& ids) const {
  if (symbol < vocabulary_.end()) {
    if (!unused_.empty() && unused_[symbol]) {
      // Each origin is shorter than what it made, so this ends.
      if (const auto it = origins.find(symbol); it != origins.end()) {
        emit(it->second.first, origins, ids);
        emit(it->second.second, origins, ids);
        return;
      }
    }
    ids.push_back(symbol);
    return;
  }
  if (options_.byte_fallback && bytes_complete_) {
    for (const char b : extra_symbols_[symbol - vocabulary_.end()])
      ids.push_back(byte_tokens_[static_cast<uint8_t>(b)]);
  } else if (unk_ >= 0 && !(options_.fuse_unk && !ids.empty() && ids.back() == unk_)) {
    ids.push_back(unk_);
  }
}

void Bpe::tokenize_part(std::string_view part, Scratch& scratch, std::vector<TokenId>& ids) const {
  int count = 0;
  if (const TokenId* known = scratch.cache.find(part, &count)) {
    ids.insert(ids.end(), known, known + count);
    return;
  }
  const size_t first = ids.size();
  if (options_.ignore_merges) {
    if (const auto id = vocabulary_.find(part)) {
      ids.push_back(*id);
      return;
    }
  }
  scratch.symbols.clear();
  add_symbols(part, scratch.symbols);
  if (extra_symbols_.empty() && unused_.empty()) {
    merge(scratch.symbols, nullptr);
    ids.insert(ids.end(), scratch.symbols.begin(), scratch.symbols.end());
  } else {
    Origins origins;
    merge(scratch.symbols, unused_.empty() ? nullptr : &origins);
    for (const TokenId symbol : scratch.symbols) emit(symbol, origins, ids);
  }
  scratch.cache.put(part, ids.data() + first, ids.size() - first);
}

void Bpe::tokenize(std::string_view word, Scratch& scratch, std::vector<TokenId>& ids) const {
  const auto run = [&](std::string_view text) {
    size_t begin = 0;
    if (cut_at_marks_) {
      for (size_t at = text.find(kMark); at != std::string_view::npos;
           at = text.find(kMark, at + kMark.size())) {
        if (at == begin || text.substr(0, at).ends_with(kMark)) continue;
        tokenize_part(text.substr(begin, at - begin), scratch, ids);
        begin = at;
      }
    }
    if (begin < text.size()) tokenize_part(text.substr(begin), scratch, ids);
  };
  if (user_defined_.empty()) return run(word);
  size_t begin = 0;
  for (size_t i = 0; i < word.size();) {
    const auto match = user_defined_.longest_prefix(word.substr(i));
    if (!match) {
      i += utf8_length(word[i]);
      continue;
    }
    run(word.substr(begin, i - begin));
    ids.push_back(match->value);
    begin = i += match->length;
  }
  run(word.substr(begin));
}

void Bpe::tokenize_bytes(std::string_view bytes, Scratch& scratch,
                         std::vector<TokenId>& ids) const {
  if (!options_.continuing_subword_prefix.empty() || !options_.end_of_word_suffix.empty() ||
      options_.byte_fallback || unk_ >= 0 || !extra_symbols_.empty() || !user_defined_.empty() ||
      !unused_.empty())
    return TokenModel::tokenize_bytes(bytes, scratch, ids);
  int count = 0;
  if (const TokenId* known = scratch.cache.find(bytes, &count)) {
    ids.insert(ids.end(), known, known + count);
    return;
  }
  const size_t first = ids.size();
  if (options_.ignore_merges) {
    if (const auto it = whole_words_.find(std::string(bytes)); it != whole_words_.end()) {
      ids.push_back(it->second);
      return;
    }
  }
  scratch.symbols.clear();
  for (const char b : bytes) {
    const TokenId symbol = byte_symbols_[static_cast<uint8_t>(b)];
    if (symbol >= 0) scratch.symbols.push_back(symbol);
  }
  merge(scratch.symbols, nullptr);
  ids.insert(ids.end(), scratch.symbols.begin(), scratch.symbols.end());
  scratch.cache.put(bytes, ids.data() + first, ids.size() - first);
}

std::string Bpe::kind() const {
  return bytes_complete_                                    ? "SentencePiece BPE"
         : byte_symbols_['a'] >= 0 && byte_symbols_[0] >= 0 ? "byte-level BPE"
                                                            : "BPE";
}

}  // namespace lathe::text
