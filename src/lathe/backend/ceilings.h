// What this machine can do at most: read bandwidth and arithmetic, for `lathe doctor` and as
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
  // Dot products of narrow types, of the units that this machine has.
  struct Peak {
    std::string type, unit;  // "bf16" or "int8"; "avx512" or "amx"
    double ops_per_s;        // a multiply-add counts two; all threads
  };
  std::vector<Peak> peaks;
};

// Bytes per second that all threads together read from a block of 256 MB in huge pages: the best of
// several ways (one stream and several per thread, with and without prefetches), in half a second.
double measure_read(ThreadPool& pool);

// The best of several short runs, in about two seconds altogether. Needs 256 MB of memory.
Ceilings measure_ceilings(ThreadPool& pool);

}  // namespace lathe
