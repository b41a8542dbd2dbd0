#include "lathe/text/unigram.h"

#include <algorithm>
#include <limits>

#include "lathe/text/unicode.h"

namespace lathe::text {
namespace {
constexpr double kUnknownPenalty = 10.0;  // below the worst piece, as in both references
}

Result<std::unique_ptr<Unigram>> Unigram::make(const Vocabulary& vocabulary,
                                               std::vector<double> scores,
                                               const std::vector<Bpe::PieceType>& types,
                                               UnigramOptions options) {
  using Type = Bpe::PieceType;
  if (scores.size() != static_cast<size_t>(vocabulary.end()))
    return bad_input("{} tokens and {} scores", vocabulary.end(), scores.size());
  if (options.unk && !vocabulary.has(*options.unk))
    return bad_input("unk_id {} is not in the vocabulary", *options.unk);
  std::unique_ptr<Unigram> u(new Unigram(vocabulary));
  u->scores_ = std::move(scores);
  u->options_ = options;
  double low = std::numeric_limits<double>::max(), high = std::numeric_limits<double>::lowest();
  bool any = false;
  for (TokenId id = 0; id < vocabulary.end(); ++id) {
    const Type type = types.empty() ? Type::kNormal : types[id];
    const double score = u->scores_[id];
    if (score != score) return bad_input("token {} has the score NaN", id);
    if (type == Type::kNormal) {
      low = std::min(low, score);
      high = std::max(high, score);
      any = true;
    }
    if (type == Type::kUserDefined) {
      u->user_defined_.resize(vocabulary.end());
      u->user_defined_[id] = true;
    }
    const std::string& token = vocabulary.token(id);
    if ((type == Type::kNormal || type == Type::kUserDefined) && vocabulary.find(token) == id)
      u->trie_.insert(token, id);
  }
  u->unk_score_ = (any ? low : 0) - kUnknownPenalty;
  u->max_score_ = any ? high : 0;
  return u;
}

void Unigram::tokenize(std::string_view word, Scratch& scratch, std::vector<TokenId>& ids) const {
  int count = 0;
  if (const TokenId* known = scratch.cache.find(word, &count)) {
    ids.insert(ids.end(), known, known + count);
    return;
  }
  const size_t first = ids.size();
  if (options_.sentencepiece) {
    segment<float>(word, ids);
  } else {
    segment<double>(word, ids);
  }
  scratch.cache.put(word, ids.data() + first, ids.size() - first);
}

template <typename Score>
void Unigram::segment(std::string_view word, std::vector<TokenId>& ids) const {
  struct Node {
    Score score = 0;
    size_t begin = std::numeric_limits<size_t>::max();
    TokenId id = -1;  // -1: unknown
  };
  constexpr size_t kUnreached = std::numeric_limits<size_t>::max();
  std::vector<Node> nodes(word.size() + 1);
  for (size_t at = 0; at < word.size();) {
    const Score here = nodes[at].score;
    const size_t character = utf8_length(word[at]);
    bool has_character = false;
    const auto offer = [&](size_t end, Score score, TokenId id) {
      Node& node = nodes[end];
      if (node.begin == kUnreached || score > node.score) node = {score, at, id};
    };
    trie_.for_prefixes(word.substr(at), [&](size_t length, TokenId id) {
      Score score = static_cast<Score>(scores_[id]);
      if (options_.sentencepiece && !user_defined_.empty() && user_defined_[id])
        score =
            static_cast<Score>(static_cast<Score>(length) * static_cast<Score>(max_score_) - 0.1);
      // To the reference, the unknown token's own spelling is as unknown as the rest.
      const bool unknown = !options_.sentencepiece && options_.unk == id;
      offer(at + length, score + here, unknown ? -1 : id);
      if (length == character) has_character = true;
    });
    if (!has_character) offer(at + character, static_cast<Score>(unk_score_) + here, -1);
    at += character;
  }
  // Backwards: neighbouring unknown characters are one unknown.
  std::vector<std::pair<std::string_view, TokenId>> path;
  for (size_t end = word.size(); end > 0;) {
    const Node& node = nodes[end];
    const std::string_view piece = word.substr(node.begin, end - node.begin);
    if (node.id < 0 && !path.empty() && path.back().second < 0) {
      path.back().first = std::string_view(piece.data(), piece.size() + path.back().first.size());
    } else {
      path.emplace_back(piece, node.id);
    }
    end = node.begin;
  }
  for (auto it = path.rbegin(); it != path.rend(); ++it) {
    if (it->second >= 0) {
      ids.push_back(it->second);
    } else {
      emit_unknown(it->first, ids);
    }
  }
}

void Unigram::emit_unknown(std::string_view text, std::vector<TokenId>& ids) const {
  // A fused run may itself be a token that the search did not use, as in the reference.
  if (!options_.sentencepiece) {
    if (const auto id = vocabulary_.find(text)) {
      ids.push_back(*id);
      return;
    }
  }
  if (options_.byte_fallback) {
    const size_t first = ids.size();
    for (const char b : text) {
      const auto id = vocabulary_.byte_token(static_cast<uint8_t>(b));
      if (!id) {
        ids.resize(first);
        break;
      }
      ids.push_back(*id);
    }
    if (ids.size() > first) return;
  }
  if (options_.unk) ids.push_back(*options_.unk);
}

}  // namespace lathe::text
