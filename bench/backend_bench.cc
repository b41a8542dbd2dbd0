// The matrix kernels as a share of this machine's ceilings.
//
// Decode: one token through the matrices of TinyLlama-1.1B (22 layers, hidden 2048, feed-forward
// 5632, key/value width 256, vocabulary 32000). `read_share` is the bytes held by the packed
// weights per second over the measured read bandwidth. Prefill: many tokens times one 2048 × 2048
// matrix; `flop_share` is over the measured peak of f32, `int8_share` and `bf16_share` over those
// of the narrow types where the machine has units for them.
#include <benchmark/benchmark.h>

#include <cstdlib>
#include <cstring>
#include <memory>

#include "lathe/backend/ceilings.h"
#include "lathe/backend/cpu/kernel_tables.h"
#include "lathe/backend/cpu/packed.h"
#include "lathe/base/rng.h"

namespace {

using namespace lathe;

std::shared_ptr<ThreadPool> pool() {
  const char* threads = std::getenv("LATHE_BENCH_THREADS");
  static const auto shared = std::make_shared<ThreadPool>(threads ? std::atoi(threads) : 0);
  return shared;
}

const Ceilings& ceilings() {
  static const Ceilings c = measure_ceilings(*pool());
  return c;
}

double peak_flops(Isa isa) {
  for (const auto& a : ceilings().arithmetic) {
    if (a.isa == isa) return a.f32_flops_per_s;
  }
  return 0;
}

// Random weights in a format, a share of them 0; formats that are only read get zero bytes, which
// take as long.
WeightMatrix weights(const FormatPtr& format, int64_t rows, int64_t cols, double zeros = 0) {
  if (!format->can_encode()) {
    return WeightMatrix::create(format, rows, cols,
                                {Bytes::copy_of(std::vector<uint8_t>(
                                    static_cast<size_t>(format->bytes(rows, cols))))},
                                "bench")
        .value();
  }
  Rng rng(1);
  std::vector<float> w(static_cast<size_t>(rows * cols));
  for (float& v : w) {
    v = static_cast<float>(rng.uniform() - 0.5);
    if (zeros > 0 && rng.uniform() < zeros) v = 0;
  }
  return WeightMatrix::encode(format, w.data(), rows, cols, "bench").value();
}

Tensor input(int64_t rows, int64_t cols) {
  Rng rng(2);
  Tensor x(rows, cols);
  for (int64_t i = 0; i < x.size(); ++i)
    x.mutable_data()[i] = static_cast<float>(rng.uniform() - 0.5);
  return x;
}

void decode(benchmark::State& state, Isa isa, const std::string& spec, int64_t tokens,
            double zeros = 0) {
  const auto ops = make_cpu_ops(isa, pool());
  const FormatPtr format = parse_format(spec).value();
  constexpr int kLayers = 22;
  const auto pack = [&](int64_t rows, int64_t cols) {
    Linear l;
    l.weight = ops->pack(weights(format, rows, cols, zeros));
    return l;
  };
  // Every layer has its own weights, as in a model; their values do not matter.
  std::vector<std::array<Linear, 7>> layers(kLayers);
  const WeightMatrix square = weights(format, 2048, 2048, zeros);
  const WeightMatrix narrow = weights(format, 256, 2048, zeros);
  const WeightMatrix wide = weights(format, 5632, 2048, zeros);
  const WeightMatrix back = weights(format, 2048, 5632, zeros);
  int64_t bytes = 0;
  for (auto& layer : layers) {
    const WeightMatrix* sources[] = {&square, &narrow, &narrow, &square, &wide, &wide, &back};
    for (size_t i = 0; i < 7; ++i) {
      layer[i].weight = ops->pack(*sources[i]);
      bytes += layer[i].weight->bytes();
    }
  }
  const Linear head = pack(32000, 2048);
  bytes += head.weight->bytes();
  const Tensor x = input(tokens, 2048), f = input(tokens, 5632);
  for (auto _ : state) {
    for (const auto& layer : layers) {
      const Linear* qkv[] = {&layer[0], &layer[1], &layer[2]};
      benchmark::DoNotOptimize(ops->linears(qkv, x));
      benchmark::DoNotOptimize(ops->linear(layer[3], x));
      const Linear* up[] = {&layer[4], &layer[5]};
      benchmark::DoNotOptimize(ops->linears(up, x));
      benchmark::DoNotOptimize(ops->linear(layer[6], f));
    }
    benchmark::DoNotOptimize(ops->linear(head, x));
  }
  const auto passes = static_cast<double>(state.iterations());
  state.counters["tokens_per_s"] =
      benchmark::Counter(passes * static_cast<double>(tokens), benchmark::Counter::kIsRate);
  state.counters["GB_per_s"] =
      benchmark::Counter(passes * static_cast<double>(bytes) * 1e-9, benchmark::Counter::kIsRate);
  state.counters["read_share"] =
      benchmark::Counter(passes * static_cast<double>(bytes) / ceilings().read_bytes_per_s,
                         benchmark::Counter::kIsRate);
}

void prefill(benchmark::State& state, Isa isa, const std::string& spec, int64_t tokens) {
  const auto ops = make_cpu_ops(isa, pool());
  Linear w;
  w.weight = ops->pack(weights(parse_format(spec).value(), 2048, 2048));
  const Tensor x = input(tokens, 2048);
  for (auto _ : state) benchmark::DoNotOptimize(ops->linear(w, x));
  const double flops =
      static_cast<double>(state.iterations()) * 2.0 * 2048 * 2048 * static_cast<double>(tokens);
  state.counters["GFLOP_per_s"] = benchmark::Counter(flops * 1e-9, benchmark::Counter::kIsRate);
  state.counters["flop_share"] =
      benchmark::Counter(flops / peak_flops(isa), benchmark::Counter::kIsRate);
  for (const Ceilings::Peak& peak : ceilings().peaks) {
    if (peak.unit != name_of(isa)) continue;
    state.counters[peak.type + "_share"] =
        benchmark::Counter(flops / peak.ops_per_s, benchmark::Counter::kIsRate);
  }
}

// One token through a matrix that stays in the second-level cache: what the arithmetic alone takes.
void cached(benchmark::State& state, Isa isa, const std::string& spec) {
  const auto ops = make_cpu_ops(isa, pool());
  Linear l;
  l.weight = ops->pack(weights(parse_format(spec).value(), 256, 2048, 0));
  const Tensor x = input(1, 2048);
  for (auto _ : state) benchmark::DoNotOptimize(ops->linear(l, x));
  state.counters["GB_per_s"] = benchmark::Counter(
      static_cast<double>(state.iterations()) * static_cast<double>(l.weight->bytes()) * 1e-9,
      benchmark::Counter::kIsRate);
}

void attention(benchmark::State& state, Isa isa, KvType type, int64_t start, int64_t rows) {
  const auto ops = make_cpu_ops(isa, pool());
  const AttentionSpec spec{32, 4, 64, 0.125f};
  // As many layers in turn as the model has: a single one would stay in the cache.
  constexpr int64_t kLayers = 22;
  KvCache cache = KvCache::create({kLayers, 4, 64, type}, start + rows).value();
  const std::vector<float> half(64, 0.5f);
  for (int64_t layer = 0; layer < kLayers; ++layer) {
    for (int64_t h = 0; h < 4; ++h) {
      for (int64_t i = 0; i < start; ++i) cache.write(layer, h, i, half.data(), half.data());
    }
  }
  const Tensor q = input(rows, 2048), k = input(rows, 256), v = input(rows, 256);
  const SequenceSpan span{&cache, 0, rows, start};
  int64_t layer = 0;
  for (auto _ : state) {
    benchmark::DoNotOptimize(ops->attention(spec, layer, {&span, 1}, q, k, v));
    layer = (layer + 1) % kLayers;
  }
  double pairs = 0;
  for (int64_t r = 0; r < rows; ++r) pairs += static_cast<double>(start + r + 1);
  state.counters["GFLOP_per_s"] =
      benchmark::Counter(static_cast<double>(state.iterations()) * pairs * 32 * 64 * 4 * 1e-9,
                         benchmark::Counter::kIsRate);
}

// The ceilings as benchmarks, for the CPU column.
void read_ceiling(benchmark::State& state) {
  const cpu::Block block(int64_t{256} << 20);
  std::memset(block.data(), 1, static_cast<size_t>(block.size()));
  const cpu::Kernels& kernels = cpu::kernels_of(available_isas().front());
  for (auto _ : state) {
    pool()->parallel_for(block.size(), 4096, [&](int64_t begin, int64_t end) {
      benchmark::DoNotOptimize(kernels.read(block.data() + begin, end - begin, 1, 4096));
    });
  }
  state.counters["GB_per_s"] = benchmark::Counter(
      static_cast<double>(state.iterations() * block.size()) * 1e-9, benchmark::Counter::kIsRate);
}

void fma_ceiling(benchmark::State& state, Isa isa) {
  constexpr int64_t kRounds = 100000;
  int64_t flops = 0;
  for (auto _ : state) {
    pool()->parallel_for(pool()->size(), 1, [&](int64_t, int64_t) {
      int64_t of_round = 0;
      benchmark::DoNotOptimize(cpu::kernels_of(isa).burn(kRounds, &of_round));
    });
  }
  cpu::kernels_of(isa).burn(1, &flops);
  state.counters["GFLOP_per_s"] = benchmark::Counter(
      static_cast<double>(state.iterations() * kRounds * flops * pool()->size()) * 1e-9,
      benchmark::Counter::kIsRate);
}

void pack(benchmark::State& state, const std::string& spec) {
  const auto ops = make_cpu_ops(available_isas().front(), pool());
  const WeightMatrix w = weights(parse_format(spec).value(), 5632, 2048);
  for (auto _ : state) benchmark::DoNotOptimize(ops->pack(w));
  state.counters["weights_per_s"] = benchmark::Counter(
      static_cast<double>(state.iterations()) * 5632 * 2048, benchmark::Counter::kIsRate);
}

}  // namespace

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  benchmark::AddCustomContext("read GB/s",
                              fmt::format("{:.1f}", ceilings().read_bytes_per_s * 1e-9));
  for (const auto& a : ceilings().arithmetic) {
    benchmark::AddCustomContext("f32 GFLOP/s " + name_of(a.isa),
                                fmt::format("{:.0f}", a.f32_flops_per_s * 1e-9));
  }
  const auto add = [](const std::string& name, auto fn) {
    benchmark::RegisterBenchmark(name.c_str(), fn)
        ->MeasureProcessCPUTime()
        ->UseRealTime()
        ->Unit(benchmark::kMillisecond);
  };
  for (const char* spec : {"sparse:bf16", "sparse:int8:row", "sparse:int4:g128"}) {
    for (const int percent : {10, 20, 30, 40, 50, 60, 70, 80, 90}) {
      add(fmt::format("sparse/{}@{}", spec, percent), [=](benchmark::State& s) {
        decode(s, available_isas().front(), spec, 1, percent / 100.0);
      });
    }
  }
  add("ceiling/read", read_ceiling);
  for (const Isa isa : available_isas()) {
    add("ceiling/fma/" + name_of(isa), [=](benchmark::State& s) { fma_ceiling(s, isa); });
    for (const char* spec :
         {"bf16", "f16", "int8:row", "int8:g128", "int4:row", "int4:g128", "int4:g32",
          "int4:g128,asym", "nf4:b64", "q4_0", "q8_0", "q4_k", "q5_k", "q6_k", "q3_k", "q2_k"}) {
      for (const int64_t tokens : {1, 4, 8, 16}) {
        if (tokens == 1) {
          add(fmt::format("cached/{}/{}", name_of(isa), spec),
              [=](benchmark::State& s) { cached(s, isa, spec); });
        }
        add(fmt::format("decode/{}/{}/{}", name_of(isa), spec, tokens),
            [=](benchmark::State& s) { decode(s, isa, spec, tokens); });
      }
    }
    for (const char* spec : {"f32", "bf16", "int8:row", "int4:row", "int4:g128", "int4:g128,asym",
                             "nf4:b64", "q4_0", "q8_0", "q4_k", "q6_k", "q2_k"}) {
      for (const int64_t tokens : {8, 16, 32, 64, 128, 512}) {
        add(fmt::format("prefill/{}/{}/{}", name_of(isa), spec, tokens),
            [=](benchmark::State& s) { prefill(s, isa, spec, tokens); });
      }
    }
    for (const KvType type :
         {KvType::kF32, KvType::kF16, KvType::kBf16, KvType::kInt8, KvType::kInt4}) {
      for (const auto& [start, rows] :
           {std::pair<int64_t, int64_t>{0, 512}, {2048, 1}, {2048, 64}, {8192, 1}}) {
        add(fmt::format("attention/{}/{}/{}+{}", name_of(isa), name_of(type), start, rows),
            [=](benchmark::State& s) { attention(s, isa, type, start, rows); });
      }
    }
  }
  for (const char* spec : {"f32", "bf16", "int8:row", "int4:g128", "nf4:b64", "q4_k", "q6_k"}) {
    add(fmt::format("pack/{}", spec), [=](benchmark::State& s) { pack(s, spec); });
  }
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
}
