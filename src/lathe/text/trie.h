// A byte trie from strings to ids: longest and all matching prefixes of a text.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "lathe/text/flat_map.h"

namespace lathe::text {

class Trie {
 public:
  // An empty key is ignored; a key that is already there gets the new value.
  void insert(std::string_view key, int32_t value) {
    if (key.empty()) return;
    uint32_t node = 0;
    for (const char c : key) {
      uint32_t& next = edges_[edge(node, c)];
      if (next == 0) {
        next = static_cast<uint32_t>(values_.size());
        values_.push_back(kNone);
      }
      node = next;
    }
    values_[node] = value;
    starts_[static_cast<uint8_t>(key[0])] = true;
  }

  bool empty() const { return values_.size() == 1; }
  bool may_start(char c) const { return starts_[static_cast<uint8_t>(c)]; }

  // Calls f(length, value) for each key that is a prefix of `text`, shortest first.
  template <typename F>
  void for_prefixes(std::string_view text, F&& f) const {
    uint32_t node = 0;
    for (size_t i = 0; i < text.size(); ++i) {
      const uint32_t* next = edges_.find(edge(node, text[i]));
      if (!next) return;
      node = *next;
      if (values_[node] != kNone) f(i + 1, values_[node]);
    }
  }

  struct Match {
    size_t length;
    int32_t value;
  };
  std::optional<Match> longest_prefix(std::string_view text) const {
    if (text.empty() || !may_start(text[0])) return std::nullopt;
    std::optional<Match> best;
    for_prefixes(text, [&](size_t length, int32_t value) { best = Match{length, value}; });
    return best;
  }

 private:
  static constexpr int32_t kNone = -1;
  static uint64_t edge(uint32_t node, char c) {
    return (uint64_t{node} << 8) | static_cast<uint8_t>(c);
  }

  FlatMap<uint32_t> edges_;
  std::vector<int32_t> values_{kNone};
  std::array<bool, 256> starts_{};
};

}  // namespace lathe::text
