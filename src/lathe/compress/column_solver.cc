#include "lathe/compress/column_solver.h"

#include <algorithm>
#include <cmath>

#include "lathe/backend/cpu/block_products.h"
#include "lathe/base/wide.h"

namespace lathe {
namespace {

// y −= a · x
LATHE_WIDE void subtract(float* __restrict y, float a, const float* __restrict x, int64_t count) {
  for (int64_t i = 0; i < count; ++i) y[i] -= a * x[i];
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
      errors_.resize(static_cast<size_t>(rows_ * (end - begin)));
      pool_.parallel_for(rows_, 32, [&](int64_t first, int64_t last) {
        for (int64_t r = first; r < last; ++r) row_block(r, begin, end);
        pass_on(first, last, begin, end);
      });
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
    float* errors = errors_.data() + r * (end - begin);
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
      errors[i - begin] = error;
      row[i] = value;
      subtract(row + i + 1, error, factor_.upper.data() + i * cols_ + i + 1, end - i - 1);
    }
  }

  // The later columns of rows [first, last) make up for the errors of the block.
  void pass_on(int64_t first, int64_t last, int64_t begin, int64_t end) {
    constexpr int64_t kColumns = 512;  // their share of U, 256 kB, stays in the second-level cache
    for (int64_t at = end; at < cols_; at += kColumns) {
      subtract_product(work_.data() + first * cols_ + at, cols_,
                       errors_.data() + first * (end - begin), end - begin,
                       factor_.upper.data() + begin * cols_ + at, cols_, last - first,
                       std::min(kColumns, cols_ - at), end - begin);
    }
  }

  const InverseFactor& factor_;
  const SolveTask& task_;
  int64_t rows_, cols_;
  ThreadPool& pool_;
  bool natural_ = true;
  std::vector<float> work_;    // columns in the order of the factor
  std::vector<float> errors_;  // rows × columns of the block
  std::vector<uint8_t> fixed_, chosen_;
  std::vector<GridGroup> groups_;
};

}  // namespace

Solution solve_columns(const InverseFactor& factor, const SolveTask& task,
                       const std::vector<uint8_t>& mask, int64_t rows, float* weights,
                       ThreadPool& pool) {
  return Solver(factor, task, rows, pool).run(mask, weights);
}

}  // namespace lathe
