// Keys and values of prompt beginnings that several requests share (few-shot examples, a passage
// with many questions): computed once, copied into the cache of each request.
// The store keeps the most recently used ones within its budget.
#pragma once

#include <list>
#include <span>
#include <vector>

#include "lathe/generate/engine.h"

namespace lathe {

int64_t common_prefix(std::span<const TokenId> a, std::span<const TokenId> b);

class PrefixStore {
 public:
  // `max_bytes` 0 turns it off. `chunk`: tokens of one forward pass.
  PrefixStore(const Engine& engine, int64_t max_bytes, int64_t chunk);

  // Fills the empty `cache` with as much of `prompt` as is known, never its last token (whose
  // logits are wanted), and returns how many positions that is. `following` is the prompt of the
  // next request: what it shares with this one is computed and kept first.
  Result<int64_t> begin(std::span<const TokenId> prompt, std::span<const TokenId> following,
                        KvCache& cache);

  int64_t computed_tokens() const { return computed_; }
  int64_t copied_tokens() const { return copied_; }

 private:
  struct Entry {
    std::vector<TokenId> ids;
    KvCache cache;
  };
  Status remember(std::span<const TokenId> ids);
  // The entry that shares most with `ids`, and how much; moved to the front.
  std::pair<const Entry*, int64_t> find(std::span<const TokenId> ids);

  const Engine& engine_;
  int64_t max_bytes_, chunk_;
  int64_t bytes_ = 0, computed_ = 0, copied_ = 0;
  std::list<Entry> entries_;
};

}  // namespace lathe
