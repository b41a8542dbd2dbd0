#include "lathe/lab/kernel_times.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>
#include <map>

#include "lathe/base/progress.h"
#include "lathe/lab/analysis_files.h"
#include "lathe/profile/probe.h"

namespace lathe {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kMostBytes = int64_t{128} << 20;
constexpr int64_t kMostCopies = 64;
constexpr int kRounds = 9;
constexpr double kRoundSeconds = 0.01;

double since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// Of other memory, so that one copy's weights are not in the cache because of another's.
WeightMatrix copy_of(const WeightMatrix& matrix) {
  std::vector<Bytes> parts;
  for (const Bytes& part : matrix.parts()) parts.push_back(Bytes::copy_of(part.span()));
  return WeightMatrix::create(matrix.format_ptr(), matrix.rows(), matrix.cols(), std::move(parts),
                              "a copy")
      .value();
}

// One matrix in copies, and its times.
class Kernel {
 public:
  Kernel(Ops& ops, const WeightMatrix& matrix, int64_t copies) : ops_(&ops), x_(1, matrix.cols()) {
    for (int64_t i = 0; i < copies; ++i) {
      copies_.push_back({"timed", ops.pack(copy_of(matrix)), {}});
    }
    for (int64_t i = 0; i < matrix.cols(); ++i) {
      x_.mutable_data()[i] = 1.0f / static_cast<float>(1 + i % 7);
    }
  }

  // One more round: one row with each copy, again and again.
  void time() {
    const double once = std::max(pass(1), 1e-9);
    const double passes = std::max(1.0, std::floor(kRoundSeconds / once));
    seconds.push_back(pass(static_cast<int64_t>(passes)) /
                      (passes * static_cast<double>(copies_.size())));
  }

  std::vector<double> seconds;  // of one row with one copy, each round

 private:
  double pass(int64_t passes) {
    const auto start = Clock::now();
    for (int64_t i = 0; i < passes; ++i) {
      for (const Linear& copy : copies_) ops_->linear(copy, x_);
    }
    return since(start);
  }

  Ops* ops_;
  Tensor x_;
  std::vector<Linear> copies_;
};

// Every other round in the opposite order, so that none always comes after the same one.
void time_in_rounds(std::vector<Kernel>& kernels, Progress& progress) {
  for (int round = 0; round < kRounds; ++round) {
    for (size_t i = 0; i < kernels.size(); ++i) {
      kernels[round % 2 == 0 ? i : kernels.size() - 1 - i].time();
    }
    progress.advance();
  }
}

double median_ratio(const std::vector<double>& values, const std::vector<double>& of) {
  std::vector<double> ratios(values.size());
  std::transform(values.begin(), values.end(), of.begin(), ratios.begin(), std::divides<>());
  return median_of(std::move(ratios));
}

Result<WeightMatrix> in_candidate(const WeightMatrix& source, const Candidate& candidate,
                                  ThreadPool& pool) {
  if (candidate == Candidate{}) return source;
  std::vector<float> weights = source.decode(pool);
  if (candidate.sparsity > 0 && candidate.pattern().empty()) {
    std::vector<float> sizes(weights.size());
    std::transform(weights.begin(), weights.end(), sizes.begin(),
                   [](float w) { return std::fabs(w); });
    const auto pruned =
        static_cast<int64_t>(candidate.sparsity * static_cast<double>(weights.size()));
    std::nth_element(sizes.begin(), sizes.begin() + pruned, sizes.end());
    const float cut = sizes[static_cast<size_t>(pruned)];
    for (float& w : weights) w = std::fabs(w) < cut ? 0.0f : w;
  }
  const FormatPtr format =
      candidate.format == "keep" ? source.format_ptr() : parse_format(candidate.format).value();
  return WeightMatrix::encode(format, weights.data(), source.rows(), source.cols(),
                              candidate.text(), &pool);
}

class Timer {
 public:
  Timer(const Checkpoint& source, Analysis& analysis, ThreadPool& pool)
      : source_(source), analysis_(analysis), pool_(pool), threads_(pool.size()) {
    for (const Analysis::Matrix& matrix : analysis.matrices) {
      model_bytes_ += matrix.bytes;
      // Of a table that is no head there is nothing to time.
      if (analysis.in_a_step(matrix.info)) shapes_.emplace(shape_of(matrix), &matrix);
    }
  }

  Status run() {
    const auto missing = missing_candidates();
    bool anchored = analysis_.other_seconds(threads_).has_value();
    for (const auto& [shape, matrix] : shapes_) {
      anchored = anchored && analysis_.seconds(*matrix, {}, threads_).has_value();
    }
    if (anchored && missing.empty()) return {};
    Progress progress("timing", kRounds * (std::ssize(missing) + (anchored ? 0 : 1)), "rounds");
    if (!anchored) LATHE_OK(anchor(progress));
    LATHE_TRY(const auto ops, make_ops({.threads = threads_}));
    for (const auto& [shape, candidates] : missing) {
      LATHE_OK_IN(time_shape(*ops, *shapes_.at(shape), candidates, progress), shape);
    }
    return {};
  }

 private:
  static std::string shape_of(const Analysis::Matrix& matrix) {
    return fmt::format("{} × {} in {}", matrix.info.rows, matrix.info.cols, matrix.format);
  }

  std::map<std::string, std::vector<Candidate>> missing_candidates() const {
    std::map<std::string, std::vector<Candidate>> out;
    for (const Analysis::Matrix& matrix : analysis_.matrices) {
      for (const SensitivityRow* row : analysis_.rows_of(matrix.info.name)) {
        const Candidate& candidate = row->candidate;
        if (candidate == Candidate{} || analysis_.seconds(matrix, candidate, threads_)) continue;
        std::vector<Candidate>& list = out[shape_of(matrix)];
        if (std::find(list.begin(), list.end(), candidate) == list.end()) list.push_back(candidate);
      }
    }
    return out;
  }

  Result<Kernel> kernel_of(Ops& ops, const Analysis::Matrix& matrix, const Candidate& candidate) {
    const MatrixInfo& info = matrix.info;
    const int64_t copies =
        std::clamp<int64_t>(std::min(model_bytes_, kMostBytes) / matrix.bytes, 1, kMostCopies);
    LATHE_TRY(const WeightMatrix source, source_.matrix(info.name, info.rows, info.cols));
    LATHE_TRY(const WeightMatrix stored, in_candidate(source, candidate, pool_));
    return Kernel(ops, stored, copies);
  }

  Status add(const KernelTime& time) {
    analysis_.times.push_back(time);
    return append_line(analysis_.folder + "/times.jsonl", to_json(time));
  }

  // Every shape as the source stores it, as a share of a decoding step.
  Status anchor(Progress& progress) {
    LATHE_TRY(const Engine engine, open_engine(source_.path(), {.threads = threads_}));
    std::vector<Kernel> kernels;
    for (const auto& [shape, matrix] : shapes_) {
      LATHE_TRY_IN(Kernel kernel, kernel_of(*engine.ops, *matrix, {}), shape);
      kernels.push_back(std::move(kernel));
    }
    std::vector<double> steps;
    LATHE_OK(step_seconds(engine, source_));  // warms up
    for (int round = 0; round < kRounds; ++round) {
      LATHE_TRY(const double step, step_seconds(engine, source_));
      steps.push_back(step);
      for (Kernel& kernel : kernels) kernel.time();
      progress.advance();
    }
    const double step = median_of(steps);
    std::map<std::string, double> seconds;
    size_t k = 0;
    for (const auto& [shape, matrix] : shapes_) {
      seconds[shape] = step * median_ratio(kernels[k++].seconds, steps);
      LATHE_OK(add({matrix->info.rows, matrix->info.cols, Analysis::timed_name(*matrix, {}),
                    threads_, seconds[shape]}));
    }
    double other = step;
    for (const Analysis::Matrix& matrix : analysis_.matrices) {
      if (analysis_.in_a_step(matrix.info)) other -= seconds[shape_of(matrix)];
    }
    return add({0, 0, "", threads_, other});
  }

  Status time_shape(Ops& ops, const Analysis::Matrix& matrix,
                    const std::vector<Candidate>& candidates, Progress& progress) {
    std::vector<Kernel> kernels;
    LATHE_TRY(Kernel reference, kernel_of(ops, matrix, {}));
    kernels.push_back(std::move(reference));
    for (const Candidate& candidate : candidates) {
      LATHE_TRY_IN(Kernel kernel, kernel_of(ops, matrix, candidate), candidate.text());
      kernels.push_back(std::move(kernel));
    }
    time_in_rounds(kernels, progress);
    const double unchanged = *analysis_.seconds(matrix, {}, threads_);
    for (size_t i = 0; i < candidates.size(); ++i) {
      LATHE_OK(
          add({matrix.info.rows, matrix.info.cols, Analysis::timed_name(matrix, candidates[i]),
               threads_, unchanged * median_ratio(kernels[i + 1].seconds, kernels[0].seconds)}));
    }
    return {};
  }

  const Checkpoint& source_;
  Analysis& analysis_;
  ThreadPool& pool_;
  int threads_;
  int64_t model_bytes_ = 0;
  std::map<std::string, const Analysis::Matrix*> shapes_;
};

}  // namespace

double median_of(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + std::ssize(values) / 2, values.end());
  return values[values.size() / 2];
}

Result<double> step_seconds(const Engine& engine, const Checkpoint& checkpoint) {
  LATHE_TRY(const auto rows,
            run_probe("latency", {engine, checkpoint},
                      {{"prompt", 32}, {"generate", 64}, {"repetitions", 1}, {"warm_up", 0}}));
  for (const Measurement& m : rows) {
    if (m.metric == "decode_tokens_per_s") return 1 / m.value;
  }
  return failed("the latency probe gives no decode_tokens_per_s");
}

Status measure_times(const Checkpoint& source, Analysis& analysis, ThreadPool& pool) {
  return Timer(source, analysis, pool).run();
}

}  // namespace lathe
