// A number for each token of a text that is resampled by windows, and quantiles of those numbers:
// the block bootstrap of a quantile.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace lathe {

class WindowValues {
 public:
  explicit WindowValues(size_t windows) : counts_(windows) {}
  void add(size_t window, float value);

  // The q-quantile (0 ≤ q ≤ 1) of the values of `windows` together, of which one may come several
  // times: linear between neighbours, as quantile_of_sorted(). NaN where they have none. Takes time
  // in proportion to 1 − q, since it walks down from the largest value.
  double quantile(std::span<const int64_t> windows, double q) const;

 private:
  struct Value {
    float value;
    uint32_t window;
  };
  std::vector<int64_t> counts_;  // values of each window
  // Sorted from the largest on when a quantile is asked for.
  mutable std::vector<Value> values_;
  mutable bool sorted_ = true;
};

}  // namespace lathe
