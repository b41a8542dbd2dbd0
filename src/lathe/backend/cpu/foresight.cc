#include "lathe/backend/cpu/foresight.h"

namespace lathe::cpu {
namespace {

// No model has as many matrices: most of these are gone.
constexpr size_t kMostProducts = 4096;

}  // namespace

Foresight::Ranges Foresight::next(const void* key, std::span<const ThreadPool::Soon> first) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (followers_.size() >= kMostProducts) followers_.clear();
  followers_[last_].assign(first.begin(), first.end());
  last_ = key;
  const auto it = followers_.find(key);
  return it == followers_.end() ? Ranges{} : it->second;
}

}  // namespace lathe::cpu
