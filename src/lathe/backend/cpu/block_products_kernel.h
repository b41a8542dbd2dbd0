// The body of block_products.h, compiled once for each instruction set.
#pragma once

#include <cstdint>
#include <cstring>

namespace lathe {
namespace {

// 64 bytes: one register of AVX-512, two of AVX2, four of the baseline.
typedef double Doubles __attribute__((vector_size(64)));
typedef float Floats __attribute__((vector_size(64)));

constexpr int kVectors = 2;  // of a row, in registers at once

template <int kRows, typename T, typename Vector>
void full_block(T* c, int64_t ldc, const T* a, int64_t lda, const T* b, int64_t ldb, int64_t k) {
  constexpr int64_t kLanes = sizeof(Vector) / sizeof(T);
  Vector sums[kRows][kVectors];
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVectors; ++v) std::memcpy(&sums[r][v], c + r * ldc + v * kLanes, 64);
  }
  for (int64_t i = 0; i < k; ++i) {
    Vector right[kVectors];
    for (int v = 0; v < kVectors; ++v) std::memcpy(&right[v], b + i * ldb + v * kLanes, 64);
    for (int r = 0; r < kRows; ++r) {
      const T left = a[r * lda + i];
      for (int v = 0; v < kVectors; ++v) sums[r][v] -= left * right[v];
    }
  }
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVectors; ++v) std::memcpy(c + r * ldc + v * kLanes, &sums[r][v], 64);
  }
}

template <int kRows, typename T, typename Vector>
void all_blocks(T* c, int64_t ldc, const T* a, int64_t lda, const T* b, int64_t ldb, int64_t m,
                int64_t n, int64_t k) {
  constexpr int64_t kWidth = kVectors * static_cast<int64_t>(sizeof(Vector) / sizeof(T));
  for (int64_t j = 0; j < n; j += kWidth) {
    const int64_t width = n - j < kWidth ? n - j : kWidth;
    for (int64_t i = 0; i < m; i += kRows) {
      const int64_t height = m - i < kRows ? m - i : kRows;
      if (width == kWidth && height == kRows) {
        full_block<kRows, T, Vector>(c + i * ldc + j, ldc, a + i * lda, lda, b + j, ldb, k);
        continue;
      }
      for (int64_t r = i; r < i + height; ++r) {
        for (int64_t x = 0; x < k; ++x) {
          const T left = a[r * lda + x];
          for (int64_t l = j; l < j + width; ++l) c[r * ldc + l] -= left * b[x * ldb + l];
        }
      }
    }
  }
}

}  // namespace
}  // namespace lathe
