#include "lathe/compress/column_solver.h"

#include <algorithm>
#include <cmath>
#include <numeric>

// Copies of the inner loops for wider vectors, chosen when the program starts; the resolver would
// run before a sanitizer is ready.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define LATHE_WIDE __attribute__((target_clones("default", "arch=haswell", "arch=skylake-avx512")))
#else
#define LATHE_WIDE
#endif

namespace lathe {
namespace {

LATHE_WIDE double dot(const double* a, const double* b, int64_t count) {
  constexpr int kLanes = 16;
  double sums[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int l = 0; l < kLanes; ++l) sums[l] += a[i + l] * b[i + l];
  }
  double sum = 0;
  for (const double s : sums) sum += s;
  for (; i < count; ++i) sum += a[i] * b[i];
  return sum;
}

// y −= a · x
LATHE_WIDE void subtract(double* __restrict y, double a, const double* __restrict x,
                         int64_t count) {
  for (int64_t i = 0; i < count; ++i) y[i] -= a * x[i];
}
LATHE_WIDE void subtract(float* __restrict y, float a, const float* __restrict x, int64_t count) {
  for (int64_t i = 0; i < count; ++i) y[i] -= a * x[i];
}
// Four at once: a quarter of the traffic of y.
LATHE_WIDE void subtract4(float* __restrict y, const float* a, const float* __restrict x,
                          int64_t stride, int64_t count) {
  const float a0 = a[0], a1 = a[1], a2 = a[2], a3 = a[3];
  for (int64_t i = 0; i < count; ++i) {
    y[i] -= a0 * x[i] + a1 * x[i + stride] + (a2 * x[i + 2 * stride] + a3 * x[i + 3 * stride]);
  }
}

constexpr int64_t kTile = 64;

// Lower Cholesky factor in place; false where a pivot is not positive.
bool factorize(std::vector<double>& a, int64_t n, ThreadPool& pool) {
  for (int64_t k = 0; k < n; k += kTile) {
    const int64_t end = std::min(n, k + kTile);
    for (int64_t i = k; i < end; ++i) {
      double* row = a.data() + i * n;
      for (int64_t j = k; j < i; ++j) {
        row[j] = (row[j] - dot(row + k, a.data() + j * n + k, j - k)) / a[size_t(j * n + j)];
      }
      const double pivot = row[i] - dot(row + k, row + k, i - k);
      if (!(pivot > 0) || !std::isfinite(pivot)) return false;
      row[i] = std::sqrt(pivot);
    }
    pool.parallel_for(n - end, 8, [&](int64_t first, int64_t last) {
      for (int64_t i = end + first; i < end + last; ++i) {
        double* row = a.data() + i * n;
        for (int64_t j = k; j < end; ++j) {
          row[j] = (row[j] - dot(row + k, a.data() + j * n + k, j - k)) / a[size_t(j * n + j)];
        }
      }
    });
    pool.parallel_for(n - end, 8, [&](int64_t first, int64_t last) {
      for (int64_t i = end + first; i < end + last; ++i) {
        double* row = a.data() + i * n;
        for (int64_t j = end; j <= i; ++j) {
          row[j] -= dot(row + k, a.data() + j * n + k, end - k);
        }
      }
    });
  }
  return true;
}

// L⁻¹ of a lower triangular L, a tile of columns at a time.
std::vector<double> invert_lower(const std::vector<double>& l, int64_t n, ThreadPool& pool) {
  std::vector<double> out(static_cast<size_t>(n * n));
  pool.parallel_for((n + kTile - 1) / kTile, 1, [&](int64_t first, int64_t last) {
    for (int64_t begin = first * kTile; begin < std::min(n, last * kTile); begin += kTile) {
      const int64_t width = std::min(kTile, n - begin);
      for (int64_t i = begin; i < n; ++i) {
        double* row = out.data() + i * n + begin;
        if (i < begin + width) row[i - begin] = 1;
        for (int64_t j = begin; j < i; ++j) {
          subtract(row, l[size_t(i * n + j)], out.data() + j * n + begin, width);
        }
        const double inverse = 1 / l[size_t(i * n + i)];
        for (int64_t c = 0; c < width; ++c) row[c] *= inverse;
      }
    }
  });
  return out;
}

// The `count` smallest of scores[i] become 1 in mask; equal ones by position.
void mark_smallest(const std::vector<float>& scores, int64_t count, std::vector<uint8_t>& mask) {
  mask.assign(scores.size(), 0);
  if (count <= 0) return;
  std::vector<float> sorted = scores;
  const auto nth = sorted.begin() + (count - 1);
  std::nth_element(sorted.begin(), nth, sorted.end());
  const float threshold = *nth;
  int64_t left = count;
  for (size_t i = 0; i < scores.size(); ++i) {
    if (scores[i] < threshold) mask[i] = 1, --left;
  }
  for (size_t i = 0; i < scores.size() && left > 0; ++i) {
    if (scores[i] == threshold) mask[i] = 1, --left;
  }
}

class Solver {
 public:
  Solver(const InverseFactor& factor, const SolveTask& task, int64_t rows, ThreadPool& pool)
      : factor_(factor), task_(task), rows_(rows), cols_(factor.size), pool_(pool) {
    natural_ = std::is_sorted(factor.order.begin(), factor.order.end());
    LATHE_CHECK(natural_ || task.static_groups);
    LATHE_CHECK(natural_ || task.pattern.of == 0);
  }

  Solution run(const std::vector<uint8_t>& mask, float* weights) {
    const auto size = static_cast<size_t>(rows_ * cols_);
    work_.resize(size);
    fixed_.resize(mask.empty() ? 0 : size);
    if (task_.sparsity > 0) chosen_.resize(size);
    if (task_.grid) {
      groups_.resize(static_cast<size_t>(rows_ * task_.grid->groups()));
      if (task_.static_groups) fit_all(weights);
    }
    each_row([&](int64_t r) {
      for (int64_t i = 0; i < cols_; ++i) {
        const int64_t from = r * cols_ + factor_.order[size_t(i)];
        work_[size_t(r * cols_ + i)] = weights[from];
        if (!mask.empty()) fixed_[size_t(r * cols_ + i)] = mask[size_t(from)];
      }
    });
    const int64_t block = block_columns();
    for (int64_t begin = 0; begin < cols_; begin += block) {
      const int64_t end = std::min(cols_, begin + block);
      if (task_.sparsity > 0 && task_.pattern.of == 0) choose(begin, end);
      each_row([&](int64_t r) { row_block(r, begin, end); });
    }
    Solution out{std::move(groups_), {}};
    if (task_.sparsity > 0) out.mask.resize(size);
    each_row([&](int64_t r) {
      for (int64_t i = 0; i < cols_; ++i) {
        const int64_t to = r * cols_ + factor_.order[size_t(i)];
        weights[to] = work_[size_t(r * cols_ + i)];
        if (task_.sparsity > 0) out.mask[size_t(to)] = chosen_[size_t(r * cols_ + i)];
      }
    });
    return out;
  }

 private:
  template <typename Fn>
  void each_row(Fn&& fn) {
    pool_.parallel_for(rows_, 4, [&](int64_t first, int64_t last) {
      for (int64_t r = first; r < last; ++r) fn(r);
    });
  }

  // With scales that are chosen on the way, a block holds whole groups.
  int64_t block_columns() const {
    if (!task_.grid || task_.static_groups) return task_.block;
    const int64_t group = task_.grid->group();
    return group * std::max(int64_t{1}, task_.block / group);
  }

  float diagonal(int64_t i) const { return factor_.upper[size_t(i * cols_ + i)]; }

  void fit_all(const float* weights) {
    each_row([&](int64_t r) {
      for (int64_t g = 0; g < task_.grid->groups(); ++g) fit(r, g, weights + r * cols_);
    });
  }

  void fit(int64_t r, int64_t g, const float* row) {
    const int64_t begin = g * task_.grid->group();
    const int64_t count = std::min(task_.grid->group(), cols_ - begin);
    FitWeight weight;
    if (task_.importance) weight.diagonal = task_.importance + begin;
    const float* x = row + begin;
    std::vector<float> kept;
    if (!chosen_.empty() && !task_.static_groups) {  // what goes needs no scale
      kept.assign(x, x + count);
      for (int64_t i = 0; i < count; ++i) {
        if (chosen_[size_t(r * cols_ + begin + i)]) kept[size_t(i)] = 0;
      }
      x = kept.data();
    }
    groups_[size_t(r * task_.grid->groups() + g)] = task_.grid->fit(x, weight, count);
  }

  // The pruned share of this block of columns, over all rows: the least w² / U²ᵢᵢ, which is what
  // removing the weight costs once the later ones have made up for it.
  void choose(int64_t begin, int64_t end) {
    const int64_t width = end - begin;
    std::vector<float> scores(static_cast<size_t>(rows_ * width));
    each_row([&](int64_t r) {
      for (int64_t i = begin; i < end; ++i) {
        scores[size_t(r * width + i - begin)] = score(r, i);
      }
    });
    std::vector<uint8_t> mask;
    const auto count =
        std::llround(task_.sparsity * static_cast<double>(rows_) * static_cast<double>(width));
    mark_smallest(scores, count, mask);
    each_row([&](int64_t r) {
      std::copy_n(mask.data() + r * width, width, chosen_.data() + r * cols_ + begin);
    });
  }

  float score(int64_t r, int64_t i) const {
    if (!fixed_.empty() && fixed_[size_t(r * cols_ + i)]) return -1;  // gone already
    const float ratio = work_[size_t(r * cols_ + i)] / diagonal(i);
    return ratio * ratio;
  }

  void choose_pattern(int64_t r, int64_t i) {
    const int64_t of = std::min(task_.pattern.of, cols_ - i);
    std::vector<std::pair<float, int64_t>> scores;
    for (int64_t j = i; j < i + of; ++j) scores.emplace_back(score(r, j), j);
    std::sort(scores.begin(), scores.end());
    for (int64_t n = 0; n < of - task_.pattern.keep; ++n) {
      chosen_[size_t(r * cols_ + scores[size_t(n)].second)] = 1;
    }
  }

  float settle(int64_t r, int64_t i, float w) {
    const auto at = static_cast<size_t>(r * cols_ + i);
    if ((!fixed_.empty() && fixed_[at]) || (!chosen_.empty() && chosen_[at])) return 0;
    if (!task_.grid) return w;
    const int64_t g = factor_.order[size_t(i)] / task_.grid->group();
    return task_.grid->round(w, groups_[size_t(r * task_.grid->groups() + g)]);
  }

  void row_block(int64_t r, int64_t begin, int64_t end) {
    float* row = work_.data() + r * cols_;
    std::vector<float> errors(static_cast<size_t>(end - begin + 3));
    for (int64_t i = begin; i < end; ++i) {
      if (task_.sparsity > 0 && task_.pattern.of > 0 && i % task_.pattern.of == 0) {
        choose_pattern(r, i);
      }
      if (task_.grid && !task_.static_groups && i % task_.grid->group() == 0) {
        // Whole groups lie in one block (block_columns), whose errors have all been passed on.
        fit(r, i / task_.grid->group(), row);
      }
      const float value = settle(r, i, row[i]);
      const float error = (row[i] - value) / diagonal(i);
      errors[size_t(i - begin)] = error;
      row[i] = value;
      subtract(row + i + 1, error, factor_.upper.data() + i * cols_ + i + 1, end - i - 1);
    }
    const int64_t rest = cols_ - end, count = end - begin;
    int64_t i = 0;
    for (; i + 4 <= count; i += 4) {
      subtract4(row + end, errors.data() + i, factor_.upper.data() + (begin + i) * cols_ + end,
                cols_, rest);
    }
    for (; i < count; ++i) {
      subtract(row + end, errors[size_t(i)], factor_.upper.data() + (begin + i) * cols_ + end,
               rest);
    }
  }

  const InverseFactor& factor_;
  const SolveTask& task_;
  int64_t rows_, cols_;
  ThreadPool& pool_;
  bool natural_ = true;
  std::vector<float> work_;  // columns in the order of the factor
  std::vector<uint8_t> fixed_, chosen_;
  std::vector<GridGroup> groups_;
};

}  // namespace

Result<InverseFactor> inverse_factor(const LinearStats& stats, double damping, bool act_order,
                                     ThreadPool& pool) {
  LATHE_OK(stats.check_finite());
  const int64_t n = stats.size;
  const auto diagonal = [&](int64_t i) { return stats.gram[size_t(i * n + i)]; };
  double mean = 0;
  for (int64_t i = 0; i < n; ++i) mean += diagonal(i) / static_cast<double>(n);
  if (!(mean > 0)) {
    return bad_input("all calibration inputs of this matrix are zero")
        .with_hint("use more or other calibration data, or method rtn for this matrix");
  }
  InverseFactor out;
  out.size = n;
  out.order.resize(static_cast<size_t>(n));
  std::iota(out.order.begin(), out.order.end(), 0);
  if (act_order) {
    std::stable_sort(out.order.begin(), out.order.end(),
                     [&](int32_t a, int32_t b) { return diagonal(a) > diagonal(b); });
  }
  // H = R Rᵀ with R upper is the lower factorization of H with rows and columns reversed; then
  // H⁻¹ = R⁻ᵀ R⁻¹, so U = R⁻¹. One factorization and one triangular inverse in all.
  const auto reversed = [&](int64_t i) { return int64_t{out.order[size_t(n - 1 - i)]}; };
  std::vector<double> lower(static_cast<size_t>(n * n));
  for (out.damping = damping;; out.damping *= 10) {
    if (out.damping > 10) {
      return bad_input("the calibration inputs of this matrix are too degenerate to solve for")
          .with_hint("use more calibration data");
    }
    pool.parallel_for(n, 16, [&](int64_t first, int64_t last) {
      for (int64_t i = first; i < last; ++i) {
        for (int64_t j = 0; j <= i; ++j) {
          lower[size_t(i * n + j)] = stats.gram[size_t(reversed(i) * n + reversed(j))];
        }
        lower[size_t(i * n + i)] += out.damping * mean;
      }
    });
    if (factorize(lower, n, pool)) break;
  }
  const std::vector<double> inverse = invert_lower(lower, n, pool);
  out.upper.resize(static_cast<size_t>(n * n));
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = i; j < n; ++j) {
      out.upper[size_t(i * n + j)] =
          static_cast<float>(inverse[size_t((n - 1 - i) * n + (n - 1 - j))]);
    }
  }
  return out;
}

Solution solve_columns(const InverseFactor& factor, const SolveTask& task,
                       const std::vector<uint8_t>& mask, int64_t rows, float* weights,
                       ThreadPool& pool) {
  return Solver(factor, task, rows, pool).run(mask, weights);
}

}  // namespace lathe
