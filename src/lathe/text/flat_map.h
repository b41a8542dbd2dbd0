// A hash map from 64-bit keys to small values, in one array: built once, then only read.
// For tables that are looked up for every symbol (merges, trie edges). The key ~0 is not allowed.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

namespace lathe::text {

template <typename V>
class FlatMap {
 public:
  explicit FlatMap(size_t expected = 0) { rehash(expected * 2 + 16); }

  const V* find(uint64_t key) const {
    for (size_t i = slot(key);; i = (i + 1) & mask_) {
      if (slots_[i].first == key) return &slots_[i].second;
      if (slots_[i].first == kEmpty) return nullptr;
    }
  }

  // The value of `key`, made from V{} if it was absent.
  V& operator[](uint64_t key) {
    if ((count_ + 1) * 2 > slots_.size()) rehash(slots_.size() * 2);
    size_t i = slot(key);
    while (slots_[i].first != key && slots_[i].first != kEmpty) i = (i + 1) & mask_;
    if (slots_[i].first == kEmpty) {
      slots_[i].first = key;
      ++count_;
    }
    return slots_[i].second;
  }

  size_t size() const { return count_; }

 private:
  static constexpr uint64_t kEmpty = ~uint64_t{0};

  size_t slot(uint64_t key) const {
    key *= 0x9e3779b97f4a7c15u;
    return (key ^ (key >> 32)) & mask_;
  }

  void rehash(size_t wanted) {
    size_t size = 16;
    while (size < wanted) size *= 2;
    std::vector<std::pair<uint64_t, V>> old(size, {kEmpty, V{}});
    old.swap(slots_);
    mask_ = size - 1;
    for (auto& [key, value] : old) {
      if (key == kEmpty) continue;
      size_t i = slot(key);
      while (slots_[i].first != kEmpty) i = (i + 1) & mask_;
      slots_[i] = {key, std::move(value)};
    }
  }

  std::vector<std::pair<uint64_t, V>> slots_;
  size_t mask_ = 0, count_ = 0;
};

}  // namespace lathe::text
