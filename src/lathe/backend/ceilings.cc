#include "lathe/backend/ceilings.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>

#include "lathe/backend/cpu/kernel_tables.h"
#include "lathe/backend/cpu/packed.h"
#include "lathe/backend/cpu/peaks.h"
#include "lathe/base/memory.h"

#include <unistd.h>
#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <sys/syscall.h>
#endif

namespace lathe {
namespace {

constexpr int64_t kReadLeast = int64_t{256} << 20, kReadMost = int64_t{1} << 30;
constexpr int kReadRuns = 4;
// Which way is fastest differs between machines, and with how many cores ask at once.
struct ReadPattern {
  int64_t streams, ahead;
};
constexpr ReadPattern kReadPatterns[] = {{1, 0}, {1, 1024}, {1, 2048}, {1, 4096}, {1, 8192},
                                         {2, 0}, {2, 2048}, {4, 0},    {4, 1024}, {8, 0}};
constexpr double kBurnSeconds = 0.03;
constexpr int kBurnRuns = 4;

template <typename Fn>
double seconds(Fn&& fn) {
  const auto start = std::chrono::steady_clock::now();
  fn();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Operations per second of all threads; `burn(rounds, &ops)` does one thread's work.
template <typename Burn>
double rate(ThreadPool& pool, Burn burn) {
  std::atomic<int64_t> total{0};
  int64_t ops = 0, rounds = 100000;
  const auto run = [&](int64_t count) {
    return seconds([&] {
      pool.parallel_for(pool.size(), 1, [&](int64_t begin, int64_t end) {
        int64_t of_round = 0;
        for (int64_t i = begin; i < end; ++i) total += static_cast<int64_t>(burn(count, &of_round));
      });
    });
  };
  burn(1, &ops);
  rounds = static_cast<int64_t>(static_cast<double>(rounds) * kBurnSeconds / run(rounds)) + 1;
  double best = 1e30;
  for (int i = 0; i < kBurnRuns; ++i) best = std::min(best, run(rounds));
  return static_cast<double>(rounds) * static_cast<double>(ops) * pool.size() / best;
}

// The tile registers belong to a process that asks the kernel for them (Linux 5.16 and newer).
bool has_amx() {
#if defined(__x86_64__) && defined(__linux__)
  constexpr unsigned kBf16 = 1u << 22, kTile = 1u << 24, kInt8 = 1u << 25;
  constexpr long kRequestPermission = 0x1023, kTileData = 18;
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return false;
  constexpr unsigned kAll = kBf16 | kTile | kInt8;
  return (d & kAll) == kAll && ::syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}

// Twice the last-level cache, so that none of it is read from there.
int64_t read_bytes() {
  int64_t cache = 0;
#if defined(_SC_LEVEL3_CACHE_SIZE)
  cache = ::sysconf(_SC_LEVEL3_CACHE_SIZE);
#endif
  const int64_t wanted = std::clamp(2 * cache, kReadLeast, kReadMost);
  return std::max(kReadLeast, std::min(wanted, available_memory_bytes() / 4)) / 4096 * 4096;
}

}  // namespace

ReadMeter::ReadMeter(ThreadPool& pool)
    : pool_(pool), block_(std::make_unique<cpu::Block>(read_bytes())) {
  std::memset(block_->data(), 1,
              static_cast<size_t>(block_->size()));  // untouched, it would be one page of zeros
  for (int run = 0; run < kReadRuns; ++run) {
    for (size_t way = 0; way < std::size(kReadPatterns); ++way) {
      const double before = best_;
      if (pass_in(way) > before) way_ = way;
    }
  }
}

ReadMeter::~ReadMeter() = default;

double ReadMeter::pass() { return pass_in(way_); }

double ReadMeter::pass_in(size_t way) {
  const cpu::Kernels& kernels = cpu::kernels_of(available_isas().front());
  const ReadPattern& pattern = kReadPatterns[way];
  // Results are stored, so that the reading is not dropped.
  std::atomic<uint32_t> total{0};
  const double time = seconds([&] {
    pool_.parallel_for(block_->size(), 4096, [&](int64_t begin, int64_t end) {
      total += kernels.read(block_->data() + begin, end - begin, pattern.streams, pattern.ahead);
    });
  });
  const double rate = static_cast<double>(block_->size()) / time;
  best_ = std::max(best_, rate);
  return rate;
}

Ceilings measure_ceilings(ThreadPool& pool) {
  Ceilings c{pool.size(), ReadMeter(pool).best(), {}, {}};
  for (const Isa isa : available_isas()) {
    c.arithmetic.push_back({isa, rate(pool, cpu::kernels_of(isa).burn)});
  }
#if defined(__x86_64__)
  if (available_isas().front() == Isa::kAvx512) {
    c.peaks.push_back({"bf16", "avx512", rate(pool, cpu::burn_bf16_avx512)});
    c.peaks.push_back({"int8", "avx512", rate(pool, cpu::burn_int8_avx512)});
  }
  if (has_amx()) {
    c.peaks.push_back({"bf16", "amx", rate(pool, cpu::burn_bf16_amx)});
    c.peaks.push_back({"int8", "amx", rate(pool, cpu::burn_int8_amx)});
  }
#endif
  return c;
}

}  // namespace lathe
