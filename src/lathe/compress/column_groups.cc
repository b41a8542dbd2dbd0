#include "lathe/compress/column_groups.h"

#include <algorithm>
#include <numeric>

#include "lathe/backend/cpu/cpu_backend.h"
#include "lathe/compress/column_solver.h"

namespace lathe {
namespace {

// x · Aᵀ by the backend's product; `a` is rows × cols.
Tensor product(Ops& ops, const Tensor& x, const std::vector<float>& a, int64_t rows) {
  const int64_t cols = static_cast<int64_t>(a.size()) / rows;
  const Linear linear{"", ops.pack(WeightMatrix::of_floats(a.data(), rows, cols)), {}};
  return ops.linear(linear, x);
}

}  // namespace

std::vector<double> group_energy(const LinearStats& stats, const std::vector<float>& weights,
                                 int64_t size) {
  const int64_t cols = stats.size, rows = static_cast<int64_t>(weights.size()) / cols;
  std::vector<double> out(static_cast<size_t>(cols / size));
  for (int64_t r = 0; r < rows; ++r) {
    const float* w = weights.data() + r * cols;
    for (int64_t i = 0; i < cols; ++i) {
      const double* gram = stats.gram.data() + i * cols;
      double before = 0;  // with the columns of the group up to i
      for (int64_t j = i / size * size; j < i; ++j) before += gram[j] * double{w[j]};
      out[size_t(i / size)] += double{w[i]} * (2 * before + gram[i] * double{w[i]});
    }
  }
  for (double& energy : out) energy /= static_cast<double>(std::max<int64_t>(1, stats.tokens));
  return out;
}

std::vector<int64_t> strongest(const std::vector<double>& energy, int64_t count) {
  std::vector<int64_t> order(energy.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    return energy[static_cast<size_t>(a)] > energy[static_cast<size_t>(b)];
  });
  order.resize(static_cast<size_t>(count));
  std::sort(order.begin(), order.end());
  return order;
}

Result<std::vector<float>> refit_columns(const LinearStats& stats,
                                         const std::vector<float>& weights,
                                         const std::vector<int64_t>& kept, double damping,
                                         ThreadPool& pool) {
  const int64_t cols = stats.size, rows = static_cast<int64_t>(weights.size()) / cols;
  const auto count = static_cast<int64_t>(kept.size());
  std::vector<uint8_t> stays(static_cast<size_t>(cols));
  for (const int64_t k : kept) stays[static_cast<size_t>(k)] = 1;
  std::vector<int64_t> gone;
  for (int64_t k = 0; k < cols; ++k) {
    if (!stays[static_cast<size_t>(k)]) gone.push_back(k);
  }
  std::vector<float> out(static_cast<size_t>(rows * count));
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t i = 0; i < count; ++i) {
      out[size_t(r * count + i)] = weights[size_t(r * cols + kept[size_t(i)])];
    }
  }
  LinearStats left;
  left.size = count;
  left.tokens = stats.tokens;
  double active = 0;
  for (const int64_t i : kept) {
    active += stats.gram[size_t(i * cols + i)];
    for (const int64_t j : kept) left.gram.push_back(stats.gram[size_t(i * cols + j)]);
  }
  if (gone.empty() || !(active > 0)) return out;
  LATHE_TRY(const InverseFactor factor, inverse_factor(left, damping, false, pool));

  // (W_R · G_RS · Uᵀ) · U, as (G_SS + λI)⁻¹ = Uᵀ · U. Products in f32, of numbers near 1.
  double mean = active / static_cast<double>(count);
  Tensor removed(rows, static_cast<int64_t>(gone.size()));
  for (int64_t r = 0; r < rows; ++r) {
    for (size_t i = 0; i < gone.size(); ++i) {
      removed.mutable_row(r)[i] = weights[size_t(r * cols + gone[i])];
    }
  }
  std::vector<float> between, upper(factor.upper), lower(upper.size());  // between: G_SR
  const auto scale = static_cast<float>(std::sqrt(mean));
  for (const int64_t i : kept) {
    for (const int64_t j : gone) {
      between.push_back(static_cast<float>(stats.gram[size_t(i * cols + j)] / mean));
    }
  }
  for (float& value : upper) value *= scale;
  for (int64_t i = 0; i < count; ++i) {
    for (int64_t j = 0; j < count; ++j) lower[size_t(j * count + i)] = upper[size_t(i * count + j)];
  }
  LATHE_TRY(const Isa isa, chosen_isa());
  LATHE_TRY(const Math math, chosen_math(Math::kExact));
  const auto ops = make_cpu_ops(isa, pool, math);
  const Tensor change = product(
      *ops, product(*ops, product(*ops, removed, between, count), upper, count), lower, count);
  for (size_t i = 0; i < out.size(); ++i) out[i] += change.data()[i];
  return out;
}

}  // namespace lathe
