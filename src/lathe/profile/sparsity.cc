// From which sparsity on a sparse matrix is multiplied faster than a dense one.
#include <algorithm>
#include <chrono>

#include "lathe/base/rng.h"
#include "lathe/profile/probe_list.h"

namespace lathe {
namespace {

using Clock = std::chrono::steady_clock;

constexpr const char* kFormats[] = {"bf16", "int8:row", "int4:g128"};
constexpr int kSteps = 10;  // sparsities 0, 0.1 … 0.9
// Copies together are larger than the caches, so that weights come from memory, as a model's do.
constexpr int64_t kCopiesBytes = int64_t{96} << 20;
constexpr int64_t kMostCopies = 64;
constexpr double kRoundSeconds = 0.02;

const MatrixInfo& largest_of_a_block(const std::vector<MatrixInfo>& matrices) {
  return *std::max_element(
      matrices.begin(), matrices.end(), [](const MatrixInfo& a, const MatrixInfo& b) {
        return std::pair(a.layer >= 0, a.rows * a.cols) < std::pair(b.layer >= 0, b.rows * b.cols);
      });
}

std::vector<float> random_weights(int64_t count, double sparsity) {
  Rng rng(1);
  std::vector<float> weights(static_cast<size_t>(count));
  for (float& w : weights) {
    const auto value = static_cast<float>(rng.uniform() - 0.5);
    w = rng.uniform() < sparsity ? 0.0f : value;
  }
  return weights;
}

// Microseconds of one token in one matrix, in each repetition.
Result<std::vector<double>> times_of(const Engine& engine, const MatrixInfo& info,
                                     const std::string& spec, double sparsity,
                                     int64_t repetitions) {
  LATHE_TRY(const FormatPtr format, parse_format(spec));
  const std::vector<float> weights = random_weights(info.rows * info.cols, sparsity);
  LATHE_TRY(const WeightMatrix matrix,
            WeightMatrix::encode(format, weights.data(), info.rows, info.cols, spec,
                                 &engine.ops->threads()));
  std::vector<Linear> copies(
      static_cast<size_t>(std::clamp<int64_t>(kCopiesBytes / matrix.bytes(), 1, kMostCopies)));
  for (Linear& copy : copies) copy = {spec, engine.ops->pack(matrix), {}};
  Tensor x(1, info.cols);
  std::fill_n(x.mutable_data(), info.cols, 0.5f);
  const auto seconds = [&](int64_t passes) {
    const auto start = Clock::now();
    for (int64_t i = 0; i < passes; ++i) {
      for (const Linear& copy : copies) engine.ops->linear(copy, x);
    }
    return std::chrono::duration<double>(Clock::now() - start).count();
  };
  seconds(1);
  const auto passes =
      std::max<int64_t>(1, static_cast<int64_t>(kRoundSeconds / std::max(seconds(1), 1e-9)));
  std::vector<double> times;
  for (int64_t i = 0; i < repetitions; ++i) {
    times.push_back(1e6 * seconds(passes) / static_cast<double>(passes * std::ssize(copies)));
  }
  return times;
}

Measurement row_of(const MatrixInfo& info, const std::string& format, const std::string& name,
                   const std::vector<double>& times) {
  Measurement row = median_row("sparsity", "matrix_us_" + name, times, "us", "lower");
  row.format = format;
  row.extra = {{"rows", info.rows}, {"cols", info.cols}};
  return row;
}

// The lowest sparsity from which on all times are below that of the dense matrix, between two
// measured ones on a straight line; 1 where even the last is not.
double crossover(double dense, const std::vector<double>& sparse) {
  size_t first = sparse.size();
  while (first > 0 && sparse[first - 1] < dense) --first;
  if (first == sparse.size()) return 1;
  if (first == 0) return 0;
  const double before = sparse[first - 1] - dense, after = dense - sparse[first];
  return (static_cast<double>(first - 1) + before / (before + after)) / kSteps;
}

Result<std::vector<Measurement>> run(const ProbeContext& context, const nlohmann::json& p) {
  const auto repetitions = p["repetitions"].get<int64_t>();
  if (repetitions < 1) return bad_input("probe 'sparsity': repetitions ≥ 1 are needed");
  const std::vector<MatrixInfo> matrices = matrices_of(context.checkpoint.config());
  const MatrixInfo& info = largest_of_a_block(matrices);
  std::vector<Measurement> rows;
  for (const std::string format : kFormats) {
    if (!parse_format(format).value()->supports(info.rows, info.cols).ok()) continue;
    LATHE_TRY(const auto dense, times_of(context.engine, info, format, 0.5, repetitions));
    rows.push_back(row_of(info, format, format, dense));
    // The shortest times decide: what else the machine does only adds to them.
    const double shortest = *rows.back().low;
    std::vector<double> sparse;
    for (int step = 0; step < kSteps; ++step) {
      const double sparsity = static_cast<double>(step) / kSteps;
      const std::string spec = "sparse:" + format;
      LATHE_TRY(const auto times, times_of(context.engine, info, spec, sparsity, repetitions));
      Measurement row = row_of(info, spec, fmt::format("{}@{:.0f}", spec, 100 * sparsity), times);
      sparse.push_back(*row.low);
      row.extra["sparsity"] = sparsity;
      rows.push_back(std::move(row));
    }
    Measurement row = probe_row("sparsity", "crossover_sparsity_" + format,
                                crossover(shortest, sparse), kSteps, "", "lower");
    row.format = "sparse:" + format;
    row.extra = {{"rows", info.rows}, {"cols", info.cols}};
    rows.push_back(std::move(row));
  }
  return rows;
}

}  // namespace

ProbeKind sparsity_probe() {
  return {
      "sparsity",
      "times of the largest matrix of a block, dense and sparse, and where sparse begins to pay",
      {{"repetitions", 5}},
      run};
}

}  // namespace lathe
