#include "lathe/lab/kernel_times.h"

#include <algorithm>
#include <chrono>
#include <map>

#include "lathe/base/progress.h"
#include "lathe/base/rng.h"
#include "lathe/generate/engine.h"
#include "lathe/lab/analysis_files.h"
#include "lathe/profile/probe.h"

namespace lathe {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kMostBytes = int64_t{256} << 20;
constexpr int64_t kMostCopies = 64;
constexpr int kRounds = 7;
constexpr double kRoundSeconds = 0.01;

double since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// One product of one row with each copy, again and again.
double seconds_of(Ops& ops, const std::vector<Linear>& copies, int64_t cols) {
  Tensor x(1, cols);
  for (int64_t i = 0; i < cols; ++i) x.mutable_data()[i] = 1.0f / static_cast<float>(1 + i % 7);
  const auto pass = [&] {
    for (const Linear& copy : copies) ops.linear(copy, x);
  };
  pass();
  auto start = Clock::now();
  pass();
  const double once = std::max(since(start), 1e-9);
  const auto passes = std::max<int64_t>(1, static_cast<int64_t>(kRoundSeconds / once));
  std::vector<double> rounds;
  for (int r = 0; r < kRounds; ++r) {
    start = Clock::now();
    for (int64_t i = 0; i < passes; ++i) pass();
    rounds.push_back(since(start) / static_cast<double>(passes * std::ssize(copies)));
  }
  std::nth_element(rounds.begin(), rounds.begin() + kRounds / 2, rounds.end());
  return rounds[kRounds / 2];
}

}  // namespace

Status measure_times(const Checkpoint& source, Analysis& analysis, ThreadPool& pool) {
  const int threads = pool.size();
  struct Wanted {
    const Analysis::Matrix* matrix;
    Candidate candidate;
  };
  std::map<std::string, Wanted> wanted;
  int64_t model_bytes = 0;
  for (const Analysis::Matrix& matrix : analysis.matrices) {
    model_bytes += matrix.bytes;
    for (const SensitivityRow* row : analysis.rows_of(matrix.info.name)) {
      if (analysis.seconds(matrix.info, row->candidate, threads)) continue;
      wanted.emplace(
          fmt::format("{}x{} {}", matrix.info.rows, matrix.info.cols, row->candidate.text()),
          Wanted{&matrix, row->candidate});
    }
  }
  const std::string path = analysis.folder + "/times.jsonl";
  const auto add = [&](KernelTime time) {
    analysis.times.push_back(time);
    return append_line(path, to_json(time));
  };
  LATHE_TRY(const auto ops, make_ops({.threads = threads}));
  Progress progress("timing", std::ssize(wanted), "kernels");
  for (const auto& [key, one] : wanted) {
    const MatrixInfo& info = one.matrix->info;
    const int64_t copies =
        std::clamp<int64_t>(std::min(model_bytes, kMostBytes) / one.matrix->bytes, 1, kMostCopies);
    Rng rng(1);
    std::vector<Linear> linears;
    std::vector<float> weights(static_cast<size_t>(info.rows * info.cols));
    for (int64_t i = 0; i < copies; ++i) {
      for (float& w : weights) w = static_cast<float>(rng.uniform() - 0.5);
      // In the source's own format: its bytes are copied, as not every format can be written.
      LATHE_TRY(WeightMatrix stored, source.matrix(info.name, info.rows, info.cols));
      if (one.candidate.format != "keep" || stored.format().can_encode()) {
        const FormatPtr format = one.candidate.format == "keep"
                                     ? stored.format_ptr()
                                     : parse_format(one.candidate.format).value();
        if (one.candidate.sparsity > 0) {
          for (float& w : weights) w = rng.uniform() < one.candidate.sparsity ? 0.0f : w;
        }
        LATHE_TRY(stored, WeightMatrix::encode(format, weights.data(), info.rows, info.cols,
                                               info.name, &pool));
      }
      linears.push_back({info.name, ops->pack(std::move(stored)), {}});
    }
    LATHE_OK(add({info.rows, info.cols, one.candidate.text(), threads,
                  seconds_of(*ops, linears, info.cols)}));
    progress.advance();
  }
  if (analysis.other_seconds(threads)) return {};
  LATHE_TRY(const Engine engine, open_engine(source.path(), {.threads = threads}));
  LATHE_TRY(const auto measured, run_probe("latency", {engine, source},
                                           {{"prompt", 32}, {"generate", 64}, {"repetitions", 5}}));
  double rest = 0;
  for (const Measurement& m : measured) {
    if (m.metric == "decode_tokens_per_s") rest = 1 / m.value;
  }
  for (const Analysis::Matrix& matrix : analysis.matrices) {
    rest -= analysis.seconds(matrix.info, {}, threads).value_or(0);
  }
  return add({0, 0, "", threads, std::max(0.0, rest)});
}

}  // namespace lathe
