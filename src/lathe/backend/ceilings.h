// What this machine can do at most: read bandwidth and arithmetic, for `lathe doctor` and as
// the denominator of every kernel's share.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "lathe/backend/cpu/cpu_backend.h"

namespace lathe {

namespace cpu {
class Block;
}

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

// Reads a block of twice the last-level cache (256 MB to 1 GB) in huge pages with all threads of a
// pool, which must outlive it. Rates are in bytes per second.
class ReadMeter {
 public:
  // Finds the fastest of several ways: one stream or more per thread, with and without prefetches.
  // Takes half a second.
  explicit ReadMeter(ThreadPool& pool);
  ~ReadMeter();
  ReadMeter(const ReadMeter&) = delete;
  ReadMeter& operator=(const ReadMeter&) = delete;

  double best() const { return best_; }  // the fastest pass so far
  double pass();                         // one more, in the fastest way

 private:
  double pass_in(size_t way);

  ThreadPool& pool_;
  std::unique_ptr<cpu::Block> block_;
  size_t way_ = 0;
  double best_ = 0;
};

// The best of several short runs, in about two seconds altogether. Needs 256 MB to 1 GB of memory.
Ceilings measure_ceilings(ThreadPool& pool);

}  // namespace lathe
