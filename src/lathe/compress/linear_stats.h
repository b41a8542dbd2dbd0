// What calibration knows of the input of one linear layer (or of several that share it).
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "lathe/base/result.h"

namespace lathe {

struct LinearStats {
  int64_t size = 0;              // K
  int64_t tokens = 0;            // rows seen
  std::vector<double> gram;      // Σ x xᵀ, K × K; empty where only importances are known
  std::vector<double> square;    // Σ x², K; in place of gram
  std::vector<double> absolute;  // Σ |x|, K
  std::vector<float> largest;    // max |x|, K

  Status check_finite() const {
    const auto finite = [](double x) { return std::isfinite(x); };
    if (std::all_of(gram.begin(), gram.end(), finite)) return {};
    return bad_input("the calibration inputs of this matrix are not finite")
        .with_hint("the model itself gives NaN or infinity on this text; try f32 or other data");
  }

  // Of inputs whose column k is divided by factors[k] (positive).
  void divide(const std::vector<float>& factors) {
    for (int64_t i = 0; i < size; ++i) {
      const double factor = factors[static_cast<size_t>(i)];
      for (int64_t j = 0; j < size && !gram.empty(); ++j) {
        gram[static_cast<size_t>(i * size + j)] /=
            factor * static_cast<double>(factors[static_cast<size_t>(j)]);
      }
      absolute[static_cast<size_t>(i)] /= factor;
      largest[static_cast<size_t>(i)] /= factors[static_cast<size_t>(i)];
    }
  }

  // Mean of x² of each column.
  std::vector<float> mean_square() const {
    std::vector<float> out(static_cast<size_t>(size));
    for (int64_t i = 0; i < size; ++i) {
      const double sum =
          gram.empty() ? square[static_cast<size_t>(i)] : gram[static_cast<size_t>(i * size + i)];
      out[static_cast<size_t>(i)] =
          static_cast<float>(sum / static_cast<double>(tokens ? tokens : 1));
    }
    return out;
  }
  // Mean of x xᵀ.
  std::vector<float> mean_gram() const {
    const double each = 1.0 / static_cast<double>(tokens ? tokens : 1);
    std::vector<float> out(gram.size());
    for (size_t i = 0; i < gram.size(); ++i) out[i] = static_cast<float>(gram[i] * each);
    return out;
  }
};

}  // namespace lathe
