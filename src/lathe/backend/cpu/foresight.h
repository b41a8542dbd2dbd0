// Which matrix comes next. Decoding multiplies the same matrices in the same order at every step,
// and between two products memory would have nothing to do: the threads ask for the beginning of
// what followed last time (ThreadPool::Soon).
#pragma once

#include <mutex>
#include <span>
#include <vector>

#include "lathe/base/threads.h"

namespace lathe::cpu {

class Foresight {
 public:
  // Says that the product called `key` begins now and what each thread will read first in it,
  // `parts` ranges per thread; gives the same of the product that is expected next, or nothing.
  // Keys and ranges are only ever compared and asked for, so that matrices may be gone meanwhile.
  std::vector<ThreadPool::Soon> next(const void* key, std::span<const ThreadPool::Soon> first);

 private:
  std::mutex mutex_;
  // Products in their order; after the last the first is expected again.
  std::vector<const void*> keys_;
  std::vector<ThreadPool::Soon> firsts_;  // [keys][as many as there are of one]
  size_t at_ = 0;                         // the product that was expected
};

}  // namespace lathe::cpu
