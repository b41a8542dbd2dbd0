// What this machine can do at most: read bandwidth and f32 arithmetic, for `lathe doctor` and as
// the denominator of every kernel's share.
#pragma once

#include <string>
#include <vector>

#include "lathe/backend/cpu/cpu_backend.h"

namespace lathe {

struct Ceilings {
  int threads;
  double read_bytes_per_s;  // all threads, from a block far larger than the last-level cache
  struct Arithmetic {
    Isa isa;
    double f32_flops_per_s;  // fused multiply-add counts two; all threads
  };
  std::vector<Arithmetic> arithmetic;  // available_isas(), best first
};

// The best of several short runs, in less than two seconds altogether. Needs 256 MB of memory.
Ceilings measure_ceilings(ThreadPool& pool);

}  // namespace lathe
