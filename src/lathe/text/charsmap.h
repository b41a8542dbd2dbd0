// SentencePiece's precompiled character map: a double-array trie (darts-clone layout) over the
// strings to replace, whose values are offsets into a pool of NUL-terminated replacements.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lathe/base/result.h"

namespace lathe::text {

class Charsmap {
 public:
  // u32 trie size in bytes, the trie, the pool; little endian. Every lookup is bounds-checked.
  static Result<Charsmap> parse(std::string_view bytes);

  bool empty() const { return units_.empty(); }
  size_t longest_replacement() const;  // bytes

  struct Match {
    size_t length;  // bytes of the text that are replaced
    std::string_view replacement;
  };
  // SentencePiece replaces the longest key that is a prefix of `text`.
  std::optional<Match> longest(std::string_view text) const;
  // Hugging Face tokenizers asks for a whole cluster and takes the shortest key that begins it.
  std::optional<std::string_view> shortest(std::string_view cluster) const;

 private:
  template <typename F>
  void for_prefixes(std::string_view text, F&& f) const;
  std::string_view replacement(uint32_t offset) const;

  std::vector<uint32_t> units_;
  std::string pool_;
};

Result<std::string> decode_base64(std::string_view text);

}  // namespace lathe::text
