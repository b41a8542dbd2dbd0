// Which matrix comes next. Decoding multiplies the same matrices in the same order at every step,
// and between two products memory would have nothing to do: the threads ask for the beginning of
// what followed last time (ThreadPool::Soon).
#pragma once

#include <mutex>
#include <span>
#include <unordered_map>
#include <vector>

#include "lathe/base/threads.h"

namespace lathe::cpu {

class Foresight {
 public:
  using Ranges = std::vector<ThreadPool::Soon>;

  // Says that the product called `key` begins now and what the threads will read first in it; gives
  // the same of the product that followed this one last time, or nothing. Keys and ranges are only
  // ever compared and asked for, so that matrices may be gone meanwhile.
  Ranges next(const void* key, std::span<const ThreadPool::Soon> first);

 private:
  std::mutex mutex_;
  std::unordered_map<const void*, Ranges> followers_;
  const void* last_ = nullptr;
};

}  // namespace lathe::cpu
