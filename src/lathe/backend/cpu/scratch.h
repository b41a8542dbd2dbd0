// Working memory of one thread, kept between calls; and work handed out in order of arrival.
#pragma once

#include <atomic>
#include <cstdint>

#include "lathe/base/threads.h"

namespace lathe::cpu {

// At least `floats` floats, aligned to 64 bytes, uninitialised; valid until this thread asks for
// the same slot again. Each caller uses its own slots.
enum class Slot { kTile, kInput, kOutput, kScores, kKeys, kValues, kStatistics, kCount };
float* scratch(Slot slot, int64_t floats);

// Calls fn(i) for i in [0, count) on all threads; each takes the next i when it is free, so that a
// core that is busy elsewhere holds nobody up. What fn(i) computes must not depend on the thread.
template <typename Fn>
void for_each_task(ThreadPool& pool, int64_t count, Fn&& fn) {
  if (count <= 1 || pool.size() == 1) {
    for (int64_t i = 0; i < count; ++i) fn(i);
    return;
  }
  std::atomic<int64_t> next{0};
  pool.parallel_for(pool.size(), 1, [&](int64_t, int64_t) {
    for (int64_t i = next.fetch_add(1); i < count; i = next.fetch_add(1)) fn(i);
  });
}

}  // namespace lathe::cpu
