#include "lathe/compress/hadamard.h"

#include <algorithm>
#include <cmath>

#include "lathe/base/rng.h"

namespace lathe {
namespace {

constexpr int64_t kLargestOuter = 2048;

bool is_prime(int64_t n) {
  for (int64_t d = 2; d * d <= n; ++d) {
    if (n % d == 0) return false;
  }
  return n > 1;
}

// The quadratic character of the numbers modulo a prime q: 0 for 0, 1 for squares, else −1.
std::vector<int8_t> character(int64_t q) {
  std::vector<int8_t> out(static_cast<size_t>(q), -1);
  out[0] = 0;
  for (int64_t i = 1; i < q; ++i) out[static_cast<size_t>(i * i % q)] = 1;
  return out;
}

// Paley's matrix S of order q + 1: zero diagonal, S · Sᵀ = q · I; skew for q ≡ 3 (mod 4), else
// symmetric.
std::vector<int8_t> conference(int64_t q) {
  const int64_t n = q + 1;
  const std::vector<int8_t> chi = character(q);
  std::vector<int8_t> out(static_cast<size_t>(n * n));
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      int8_t value = 0;
      if (i == 0 && j > 0) value = 1;
      if (j == 0 && i > 0) value = q % 4 == 3 ? -1 : 1;
      if (i > 0 && j > 0) value = chi[static_cast<size_t>(((i - j) % q + q) % q)];
      out[static_cast<size_t>(i * n + j)] = value;
    }
  }
  return out;
}

// Empty where neither construction gives this order.
std::vector<int8_t> paley(int64_t order) {
  if (order == 1) return {1};
  if (order % 4 != 0) return {};
  if ((order - 1) % 4 == 3 && is_prime(order - 1)) {  // I + S
    std::vector<int8_t> out = conference(order - 1);
    for (int64_t i = 0; i < order; ++i) out[static_cast<size_t>(i * order + i)] = 1;
    return out;
  }
  const int64_t half = order / 2, q = half - 1;
  if (q % 4 != 1 || !is_prime(q)) return {};
  // Each entry of S becomes ±[1 1; 1 −1], each 0 of its diagonal [1 −1; −1 −1].
  const std::vector<int8_t> s = conference(q);
  std::vector<int8_t> out(static_cast<size_t>(order * order));
  for (int64_t i = 0; i < order; ++i) {
    for (int64_t j = 0; j < order; ++j) {
      const int8_t entry = s[static_cast<size_t>(i / 2 * half + j / 2)];
      const bool lower = i % 2 == 1, right = j % 2 == 1;
      const int value = entry == 0 ? (lower || right ? -1 : 1) : (lower && right ? -entry : entry);
      out[static_cast<size_t>(i * order + j)] = static_cast<int8_t>(value);
    }
  }
  return out;
}

}  // namespace

std::optional<Rotation> Rotation::create(int64_t size, uint64_t seed) {
  if (size < 1) return std::nullopt;
  Rotation out;
  out.size_ = size;
  int64_t odd = size;
  while (odd % 2 == 0) odd /= 2;
  for (int64_t order = odd; order <= std::min(size, kLargestOuter); order *= 2) {
    out.matrix_ = paley(order);
    out.outer_ = order;
    if (!out.matrix_.empty()) break;
  }
  if (out.matrix_.empty()) return std::nullopt;
  Rng rng(seed);
  for (int64_t i = 0; i < size; ++i) {
    out.signs_.push_back(seed != 0 && rng.below(2) == 1 ? int8_t{-1} : int8_t{1});
  }
  return out;
}

void Rotation::rotate(float* row, std::vector<float>& scratch) const {
  const int64_t inner = size_ / outer_;
  for (int64_t i = 0; i < size_; ++i) row[i] *= static_cast<float>(signs_[size_t(i)]);
  for (int64_t step = 1; step < inner; step *= 2) {
    for (int64_t base = 0; base < size_; base += 2 * step) {
      for (int64_t i = base; i < base + step; ++i) {
        const float a = row[i], b = row[i + step];
        row[i] = a + b;
        row[i + step] = a - b;
      }
    }
  }
  const auto scale = static_cast<float>(1 / std::sqrt(static_cast<double>(size_)));
  scratch.assign(static_cast<size_t>(size_), 0.0f);
  for (int64_t i = 0; i < outer_; ++i) {
    const float* from = row + i * inner;
    for (int64_t j = 0; j < outer_; ++j) {
      const float factor = scale * static_cast<float>(matrix_[size_t(i * outer_ + j)]);
      float* to = scratch.data() + j * inner;
      for (int64_t k = 0; k < inner; ++k) to[k] += factor * from[k];
    }
  }
  std::copy(scratch.begin(), scratch.end(), row);
}

void Rotation::rotate_rows(float* rows, int64_t count, ThreadPool& pool) const {
  pool.parallel_for(count, 8, [&](int64_t begin, int64_t end) {
    std::vector<float> scratch;
    for (int64_t r = begin; r < end; ++r) rotate(rows + r * size_, scratch);
  });
}

void Rotation::rotate_columns(float* a, int64_t cols, ThreadPool& pool) const {
  pool.parallel_for(cols, 16, [&](int64_t begin, int64_t end) {
    std::vector<float> column(static_cast<size_t>(size_)), scratch;
    for (int64_t c = begin; c < end; ++c) {
      for (int64_t r = 0; r < size_; ++r) column[size_t(r)] = a[r * cols + c];
      rotate(column.data(), scratch);
      for (int64_t r = 0; r < size_; ++r) a[r * cols + c] = column[size_t(r)];
    }
  });
}

}  // namespace lathe
