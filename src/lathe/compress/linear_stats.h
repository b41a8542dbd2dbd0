// What calibration knows of the input of one linear layer (or of several that share it).
#pragma once

#include <cstdint>
#include <vector>

namespace lathe {

struct LinearStats {
  int64_t size = 0;          // K
  int64_t tokens = 0;        // rows seen
  std::vector<double> gram;  // Σ x xᵀ, K × K

  // Mean of x² of each column.
  std::vector<float> mean_square() const {
    std::vector<float> out(static_cast<size_t>(size));
    for (int64_t i = 0; i < size; ++i) {
      out[static_cast<size_t>(i)] = static_cast<float>(gram[static_cast<size_t>(i * size + i)] /
                                                       static_cast<double>(tokens ? tokens : 1));
    }
    return out;
  }
};

}  // namespace lathe
