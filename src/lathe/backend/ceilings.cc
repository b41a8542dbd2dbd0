#include "lathe/backend/ceilings.h"

#include <algorithm>
#include <atomic>
#include <chrono>

#include "lathe/backend/cpu/kernel_tables.h"
#include "lathe/backend/cpu/packed.h"

namespace lathe {
namespace {

constexpr int64_t kReadBytes = int64_t{256} << 20;
constexpr int kReadRuns = 8;
constexpr double kBurnSeconds = 0.03;
constexpr int kBurnRuns = 4;

template <typename Fn>
double seconds(Fn&& fn) {
  const auto start = std::chrono::steady_clock::now();
  fn();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double read_bandwidth(ThreadPool& pool) {
  const cpu::Kernels& kernels = cpu::kernels_of(available_isas().front());
  const cpu::Block block(kReadBytes);
  // Results are stored, so that the reading is not dropped.
  std::atomic<uint32_t> total{0};
  double best = 1e30;
  for (int run = 0; run < kReadRuns; ++run) {
    best = std::min(best, seconds([&] {
                      pool.parallel_for(kReadBytes, 4096, [&](int64_t begin, int64_t end) {
                        total += kernels.read(block.data() + begin, end - begin);
                      });
                    }));
  }
  return static_cast<double>(kReadBytes) / best;
}

double arithmetic(ThreadPool& pool, const cpu::Kernels& kernels) {
  std::atomic<float> total{0};
  int64_t flops = 0, rounds = 100000;
  const auto burn = [&](int64_t count) {
    return seconds([&] {
      pool.parallel_for(pool.size(), 1, [&](int64_t, int64_t) {
        int64_t of_round = 0;
        total = kernels.burn(count, &of_round);
      });
    });
  };
  kernels.burn(1, &flops);
  rounds = static_cast<int64_t>(static_cast<double>(rounds) * kBurnSeconds / burn(rounds)) + 1;
  double best = 1e30;
  for (int run = 0; run < kBurnRuns; ++run) best = std::min(best, burn(rounds));
  return static_cast<double>(rounds) * static_cast<double>(flops) * pool.size() / best;
}

}  // namespace

Ceilings measure_ceilings(ThreadPool& pool) {
  Ceilings c{pool.size(), read_bandwidth(pool), {}};
  for (const Isa isa : available_isas()) {
    c.arithmetic.push_back({isa, arithmetic(pool, cpu::kernels_of(isa))});
  }
  return c;
}

}  // namespace lathe
