#include <algorithm>
#include <cmath>
#include <numeric>

#include "lathe/backend/cpu/block_products.h"
#include "lathe/compress/column_solver.h"

namespace lathe {
namespace {

constexpr int64_t kTile = 64;

// The tile of a lower triangular factor that begins at [k, k], at most kTile wide, inverted and
// with the sign changed: products only subtract. Transposed: as a matrix to multiply by from the
// right.
std::vector<double> negative_inverse(const double* l, int64_t n, int64_t width, bool transposed) {
  std::vector<double> inverse(static_cast<size_t>(width * width)), out(inverse.size());
  for (int64_t c = 0; c < width; ++c) {
    for (int64_t i = c; i < width; ++i) {
      double sum = i == c ? 1 : 0;
      for (int64_t j = c; j < i; ++j) sum -= l[i * n + j] * inverse[size_t(j * width + c)];
      inverse[size_t(i * width + c)] = sum / l[i * n + i];
    }
  }
  for (int64_t i = 0; i < width; ++i) {
    for (int64_t j = 0; j < width; ++j) {
      out[size_t(transposed ? j * width + i : i * width + j)] = -inverse[size_t(i * width + j)];
    }
  }
  return out;
}

// Of one tile on the diagonal, in place; false where a pivot is not positive.
bool factorize_tile(double* a, int64_t n, int64_t width) {
  for (int64_t i = 0; i < width; ++i) {
    for (int64_t j = 0; j <= i; ++j) {
      double sum = a[i * n + j];
      for (int64_t k = 0; k < j; ++k) sum -= a[i * n + k] * a[j * n + k];
      if (j < i) {
        a[i * n + j] = sum / a[j * n + j];
      } else if (!(sum > 0) || !std::isfinite(sum)) {
        return false;
      } else {
        a[i * n + i] = std::sqrt(sum);
      }
    }
  }
  return true;
}

// Lower Cholesky factor in place, tile by tile; false where a pivot is not positive. What lies
// above the diagonal is lost.
bool factorize(std::vector<double>& a, int64_t n, ThreadPool& pool) {
  std::vector<double> across;  // the tiles under the diagonal one, transposed: [kTile, rest]
  for (int64_t k = 0; k < n; k += kTile) {
    const int64_t width = std::min(kTile, n - k), end = k + width, rest = n - end;
    double* corner = a.data() + k * n + k;
    if (!factorize_tile(corner, n, width)) return false;
    const std::vector<double> right = negative_inverse(corner, n, width, true);
    across.resize(static_cast<size_t>(width * rest));
    const int64_t tiles = (rest + kTile - 1) / kTile;
    pool.parallel_for(tiles, 1, [&](int64_t first, int64_t last) {
      for (int64_t t = first; t < last; ++t) {
        const int64_t rows = std::min(kTile, rest - t * kTile);
        double* tile = a.data() + (end + t * kTile) * n + k;
        double solved[kTile * kTile] = {};
        subtract_product(solved, kTile, tile, n, right.data(), width, rows, width, width);
        for (int64_t i = 0; i < rows; ++i) {
          for (int64_t j = 0; j < width; ++j) {
            tile[i * n + j] = solved[i * kTile + j];
            across[size_t(j * rest + t * kTile + i)] = solved[i * kTile + j];
          }
        }
      }
    });
    // Tiles are numbered row by row, the longest rows first.
    pool.parallel_for(tiles * (tiles + 1) / 2, 1, [&](int64_t first, int64_t last) {
      for (int64_t t = first; t < last; ++t) {
        auto i = static_cast<int64_t>((std::sqrt(8.0 * static_cast<double>(t) + 1) - 1) / 2);
        while (i * (i + 1) / 2 > t) --i;
        while ((i + 1) * (i + 2) / 2 <= t) ++i;
        const int64_t j = t - i * (i + 1) / 2;
        subtract_product(a.data() + (end + i * kTile) * n + end + j * kTile, n,
                         a.data() + (end + i * kTile) * n + k, n, across.data() + j * kTile, rest,
                         std::min(kTile, rest - i * kTile), std::min(kTile, rest - j * kTile),
                         width);
      }
    });
  }
  return true;
}

// L⁻¹ of a lower triangular L, a tile of columns at a time.
std::vector<double> invert_lower(const std::vector<double>& l, int64_t n, ThreadPool& pool) {
  const int64_t tiles = (n + kTile - 1) / kTile;
  std::vector<std::vector<double>> corners(static_cast<size_t>(tiles));
  pool.parallel_for(tiles, 1, [&](int64_t first, int64_t last) {
    for (int64_t t = first; t < last; ++t) {
      corners[size_t(t)] = negative_inverse(l.data() + t * kTile * (n + 1), n,
                                            std::min(kTile, n - t * kTile), false);
    }
  });
  std::vector<double> out(static_cast<size_t>(n * n));
  pool.parallel_for(tiles, 1, [&](int64_t first, int64_t last) {
    for (int64_t c = first; c < last; ++c) {
      const int64_t width = std::min(kTile, n - c * kTile);
      for (int64_t t = c; t < tiles; ++t) {
        const int64_t begin = t * kTile, rows = std::min(kTile, n - begin);
        double sums[kTile * kTile] = {};
        for (int64_t i = 0; t == c && i < rows; ++i) sums[i * kTile + i] = 1;
        const int64_t inner = begin - c * kTile;
        subtract_product(sums, kTile, l.data() + begin * n + c * kTile, n,
                         out.data() + c * kTile * n + c * kTile, n, rows, width, inner);
        subtract_product(out.data() + begin * n + c * kTile, n, corners[size_t(t)].data(), rows,
                         sums, kTile, rows, width, rows);
      }
    }
  });
  return out;
}

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
  lower = {};
  out.upper.resize(static_cast<size_t>(n * n));
  pool.parallel_for(n, 16, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) {
      const double* row = inverse.data() + (n - 1 - i) * n;
      for (int64_t j = i; j < n; ++j)
        out.upper[size_t(i * n + j)] = static_cast<float>(row[n - 1 - j]);
    }
  });
  return out;
}

Result<std::shared_ptr<const InverseFactor>> FactorCache::of(
    const std::shared_ptr<const LinearStats>& stats, ThreadPool& pool) {
  if (factor_ && stats_.lock() == stats) return factor_;
  factor_.reset();
  LATHE_TRY(InverseFactor factor, inverse_factor(*stats, damping_, act_order_, pool));
  factor_ = std::make_shared<const InverseFactor>(std::move(factor));
  stats_ = stats;
  return factor_;
}

}  // namespace lathe
