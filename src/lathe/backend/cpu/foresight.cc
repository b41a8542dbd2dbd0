#include "lathe/backend/cpu/foresight.h"

namespace lathe::cpu {
namespace {

// No model has as many matrices: these calls do not repeat themselves.
constexpr size_t kMostProducts = 4096;

}  // namespace

std::vector<ThreadPool::Soon> Foresight::next(const void* key,
                                              std::span<const ThreadPool::Soon> first) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const size_t each = first.size();
  if (at_ == keys_.size() && !keys_.empty() && keys_.front() == key) at_ = 0;
  if (at_ >= keys_.size() || keys_[at_] != key || firsts_.size() != keys_.size() * each) {
    // Another order than last time: what came before holds, what follows is to be seen.
    if (at_ >= kMostProducts || firsts_.size() != keys_.size() * each) at_ = 0;
    keys_.resize(at_);
    firsts_.resize(at_ * each);
    keys_.push_back(key);
    firsts_.insert(firsts_.end(), first.begin(), first.end());
  }
  ++at_;
  const size_t expected = at_ < keys_.size() ? at_ : 0;
  const auto from = firsts_.begin() + static_cast<std::ptrdiff_t>(expected * each);
  return {from, from + static_cast<std::ptrdiff_t>(each)};
}

}  // namespace lathe::cpu
