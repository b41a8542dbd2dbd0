// Quantiles of resampled windows against those of the pooled values, sorted.
#include "lathe/eval/metrics/window_values.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "lathe/base/rng.h"
#include "lathe/eval/metrics/statistics.h"

namespace lathe {
namespace {

TEST(WindowValues, QuantileIsThatOfThePooledValues) {
  Rng rng(5);
  for (int trial = 0; trial < 300; ++trial) {
    const size_t count = 1 + rng.below(6);
    WindowValues values(count);
    std::vector<std::vector<double>> of_window(count);
    for (size_t w = 0; w < count; ++w) {
      const size_t length = rng.below(9);
      for (size_t i = 0; i < length; ++i) {
        const auto value = static_cast<float>(rng.below(12)) / 4;  // with ties
        values.add(w, value);
        of_window[w].push_back(value);
      }
    }
    for (int draw = 0; draw < 4; ++draw) {
      std::vector<int64_t> windows(1 + rng.below(8));
      std::vector<double> pooled;
      for (int64_t& w : windows) {
        w = static_cast<int64_t>(rng.below(count));
        const auto& more = of_window[static_cast<size_t>(w)];
        pooled.insert(pooled.end(), more.begin(), more.end());
      }
      std::ranges::sort(pooled);
      for (const double q : {0.0, 0.3, 0.5, 0.99, 1.0}) {
        const double found = values.quantile(windows, q);
        if (pooled.empty()) {
          EXPECT_TRUE(std::isnan(found));
        } else {
          EXPECT_DOUBLE_EQ(found, quantile_of_sorted(pooled, q));
        }
      }
    }
  }
}

}  // namespace
}  // namespace lathe
