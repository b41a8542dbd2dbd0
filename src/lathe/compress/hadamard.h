// Hadamard matrices of many orders, as rotations of rows of numbers.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "lathe/base/threads.h"

namespace lathe {

// x ← x · Q for rows x of `size` numbers, Q = D · (H ⊗ W) / √size: D a diagonal of random signs, H
// a Hadamard matrix by one of Paley's constructions (or 1), W Walsh's of a power of two. Q is
// orthogonal.
class Rotation {
 public:
  // None where no such matrix of this order is known here. All powers of two are, and most
  // multiples of four up to 4 · 2048 times a power of two. `seed` chooses the signs; 0: none are
  // flipped.
  static std::optional<Rotation> create(int64_t size, uint64_t seed);

  int64_t size() const { return size_; }
  // Each row of `count`, row-major.
  void rotate_rows(float* rows, int64_t count, ThreadPool& pool) const;
  // Qᵀ · A for A [size, cols]: what rotate_rows() does to the rows of Aᵀ.
  void rotate_columns(float* a, int64_t cols, ThreadPool& pool) const;

 private:
  void rotate(float* row, std::vector<float>& scratch) const;

  int64_t size_ = 0, outer_ = 1;  // order of H; size / outer is a power of two
  std::vector<int8_t> signs_;     // D
  std::vector<int8_t> matrix_;    // H, outer × outer, ±1
};

}  // namespace lathe
