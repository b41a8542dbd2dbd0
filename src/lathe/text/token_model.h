// The model of a tokenizer: from a word to token ids.
#pragma once

#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "lathe/text/tokenizer.h"

namespace lathe::text {

// Short words and their tokens, one slot per hash: a repeated word costs one comparison.
class WordCache {
 public:
  // The ids of `word`, or nullptr.
  const TokenId* find(std::string_view word, int* count) const {
    if (word.size() > kKeyBytes || slots_.empty()) return nullptr;
    const Slot& s = slots_[slot(word)];
    if (s.length != word.size() || std::memcmp(s.key, word.data(), word.size()) != 0)
      return nullptr;
    *count = s.count;
    return s.ids;
  }
  void put(std::string_view word, const TokenId* ids, size_t count) {
    if (word.empty() || word.size() > kKeyBytes || count > kIds) return;
    if (slots_.empty()) slots_.resize(kSlots);
    Slot& s = slots_[slot(word)];
    std::memcpy(s.key, word.data(), word.size());
    std::memcpy(s.ids, ids, count * sizeof(TokenId));
    s.length = static_cast<uint8_t>(word.size());
    s.count = static_cast<uint8_t>(count);
  }

 private:
  static constexpr size_t kSlots = 1 << 14, kKeyBytes = 26, kIds = 9;
  struct Slot {  // one cache line
    char key[kKeyBytes];
    uint8_t length = 0, count = 0;
    TokenId ids[kIds];
  };
  static_assert(sizeof(Slot) == 64);

  static size_t slot(std::string_view word) {
    uint64_t h = word.size();
    const char* p = word.data();
    size_t n = word.size();
    for (; n >= 8; p += 8, n -= 8) {
      uint64_t w;
      std::memcpy(&w, p, 8);
      h = (h ^ w) * 0x9e3779b97f4a7c15u;
      h ^= h >> 29;
    }
    uint64_t w = 0;
    std::memcpy(&w, p, n);
    h = (h ^ w) * 0x9e3779b97f4a7c15u;
    return (h >> 40) & (kSlots - 1);
  }

  std::vector<Slot> slots_;
};

// What one call of encode() needs; reused between calls, never shared by two at once.
struct Scratch {
  WordCache cache;
  std::vector<TokenId> symbols;
};

class TokenModel {
 public:
  virtual ~TokenModel() = default;
  // Appends the ids of one word of valid UTF-8.
  virtual void tokenize(std::string_view word, Scratch& scratch,
                        std::vector<TokenId>& ids) const = 0;
  // The same for a word given as raw bytes that stand for characters of the byte-level alphabet.
  virtual void tokenize_bytes(std::string_view bytes, Scratch& scratch,
                              std::vector<TokenId>& ids) const;
  virtual std::string kind() const = 0;
};

}  // namespace lathe::text
