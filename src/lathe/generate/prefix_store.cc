#include "lathe/generate/prefix_store.h"

#include <algorithm>

#include "lathe/model/forward.h"

namespace lathe {
namespace {

// Below this many tokens, a forward pass of their own costs more than computing them again.
constexpr int64_t kLeastShared = 16;

}  // namespace

int64_t common_prefix(std::span<const TokenId> a, std::span<const TokenId> b) {
  const size_t most = std::min(a.size(), b.size());
  size_t n = 0;
  while (n < most && a[n] == b[n]) ++n;
  return static_cast<int64_t>(n);
}

PrefixStore::PrefixStore(const Engine& engine, int64_t max_bytes, int64_t chunk)
    : engine_(engine), max_bytes_(max_bytes), chunk_(std::max<int64_t>(1, chunk)) {}

std::pair<const PrefixStore::Entry*, int64_t> PrefixStore::find(std::span<const TokenId> ids) {
  auto best = entries_.end();
  int64_t most = 0;
  for (auto it = entries_.begin(); it != entries_.end(); ++it) {
    const int64_t shared = common_prefix(it->ids, ids);
    if (shared > most) {
      most = shared;
      best = it;
    }
  }
  if (best == entries_.end()) return {nullptr, 0};
  entries_.splice(entries_.begin(), entries_, best);
  return {&entries_.front(), most};
}

Status PrefixStore::remember(std::span<const TokenId> ids) {
  const KvShape shape = engine_.model->kv_shape();
  const int64_t length = std::ssize(ids), bytes = KvCache::bytes_for(shape, length);
  LATHE_TRY(KvCache cache, KvCache::create(shape, length));
  const auto [entry, known] = find(ids);
  if (entry) cache.copy_prefix(entry->cache, known);
  for (int64_t at = known; at < length; at += chunk_) {
    const int64_t count = std::min(chunk_, length - at);
    Batch batch;
    batch.add(cache, ids.subspan(static_cast<size_t>(at), static_cast<size_t>(count)), false);
    hidden_states(*engine_.model, *engine_.ops, batch);
  }
  computed_ += length - known;
  while (!entries_.empty() && bytes_ + bytes > max_bytes_) {
    bytes_ -= KvCache::bytes_for(shape, entries_.back().cache.capacity());
    entries_.pop_back();
  }
  bytes_ += bytes;
  entries_.push_front({{ids.begin(), ids.end()}, std::move(cache)});
  return {};
}

Result<int64_t> PrefixStore::begin(std::span<const TokenId> prompt,
                                   std::span<const TokenId> following, KvCache& cache) {
  const KvShape shape = engine_.model->kv_shape();
  if (max_bytes_ <= 0 || prompt.size() < 2) return 0;
  const std::span<const TokenId> usable = prompt.first(prompt.size() - 1);
  const int64_t known = find(usable).second;
  const int64_t shared = common_prefix(usable, following);
  if (shared >= known + kLeastShared && KvCache::bytes_for(shape, shared) <= max_bytes_) {
    LATHE_OK(remember(usable.first(static_cast<size_t>(shared))));
  }
  const auto [entry, positions] = find(usable);
  if (!entry || positions < kLeastShared) return 0;
  cache.copy_prefix(entry->cache, positions);
  copied_ += positions;
  return positions;
}

}  // namespace lathe
