// The made-up matrix and inputs of tools/oracles/compress_methods.py and compress_scales.py.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "lathe/compress/linear_stats.h"

namespace lathe::test {

// The hash and the inputs of the oracle.
inline double noise(uint64_t i) {
  uint64_t h = (i * 2654435761u) & 0xffffffffu;
  h ^= h >> 15;
  h = (h * 2246822519u) & 0xffffffffu;
  h ^= h >> 13;
  return static_cast<double>(h) / 4294967296.0 - 0.5;
}

// Weights with outliers.
inline std::vector<float> cubed(int64_t count) {
  std::vector<float> w;
  for (int64_t i = 0; i < count; ++i) {
    w.push_back(static_cast<float>(4 * std::pow(noise(static_cast<uint64_t>(i)), 3)));
  }
  return w;
}

struct Problem {
  int64_t rows, cols, tokens;
  std::vector<float> weights, inputs;
  LinearStats stats;

  Problem(int64_t rows, int64_t cols, int64_t tokens, std::vector<float> w)
      : rows(rows), cols(cols), tokens(tokens), weights(std::move(w)) {
    const int64_t groups = (cols + 7) / 8;
    for (int64_t t = 0; t < tokens; ++t) {
      for (int64_t k = 0; k < cols; ++k) {
        double x = noise((1u << 20) + static_cast<uint64_t>(t * cols + k)) +
                   2 * noise((1u << 26) + static_cast<uint64_t>(t * groups + k / 8));
        if (k % 13 == 0) x *= 5;
        inputs.push_back(static_cast<float>(x));
      }
    }
    stats.size = cols;
    stats.tokens = tokens;
    stats.gram.resize(static_cast<size_t>(cols * cols));
    stats.absolute.resize(static_cast<size_t>(cols));
    for (int64_t t = 0; t < tokens; ++t) {
      const float* x = inputs.data() + t * cols;
      for (int64_t i = 0; i < cols; ++i) {
        stats.absolute[size_t(i)] += std::fabs(double{x[i]});
        for (int64_t j = 0; j <= i; ++j) {
          stats.gram[size_t(i * cols + j)] += double{x[i]} * double{x[j]};
        }
      }
    }
    for (int64_t i = 0; i < cols; ++i) {
      for (int64_t j = 0; j < i; ++j)
        stats.gram[size_t(j * cols + i)] = stats.gram[size_t(i * cols + j)];
    }
  }

  static Problem made_up(int64_t rows, int64_t cols, int64_t tokens) {
    std::vector<float> w;
    for (int64_t i = 0; i < rows * cols; ++i) w.push_back(static_cast<float>(noise(uint64_t(i))));
    return {rows, cols, tokens, std::move(w)};
  }

  // |X (W' − W)ᵀ|² / |X Wᵀ|², from the statistics.
  double error(const std::vector<float>& changed) const {
    double error = 0, power = 0;
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t i = 0; i < cols; ++i) {
        const double w = weights[size_t(r * cols + i)], d = changed[size_t(r * cols + i)] - w;
        double e = 0, p = 0;
        for (int64_t j = 0; j < cols; ++j) {
          const double v = weights[size_t(r * cols + j)], g = stats.gram[size_t(i * cols + j)];
          e += g * (changed[size_t(r * cols + j)] - v);
          p += g * v;
        }
        error += d * e;
        power += w * p;
      }
    }
    return error / power;
  }
};

}  // namespace lathe::test
