// Working memory of one thread, kept between calls; and work handed out task by task.
#pragma once

#include <cstdint>

#include "lathe/base/threads.h"

namespace lathe::cpu {

// At least `floats` floats, aligned to 64 bytes, uninitialised; valid until this thread asks for
// the same slot again. Each caller uses its own slots.
enum class Slot { kTile, kInput, kOutput, kScores, kValues, kStatistics, kCodes, kCount };
float* scratch(Slot slot, int64_t floats);

// Calls fn(i) for i in [0, count) on all threads, in any order. What fn(i) computes must not depend
// on the thread.
template <typename Fn>
void for_each_task(ThreadPool& pool, int64_t count, Fn&& fn) {
  pool.parallel_for(count, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) fn(i);
  });
}

}  // namespace lathe::cpu
