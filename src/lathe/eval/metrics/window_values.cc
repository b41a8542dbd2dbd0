#include "lathe/eval/metrics/window_values.h"

#include <algorithm>
#include <cmath>

#include "lathe/base/check.h"

namespace lathe {

void WindowValues::add(size_t window, float value) {
  LATHE_CHECK(window < counts_.size());
  ++counts_[window];
  values_.push_back({value, static_cast<uint32_t>(window)});
  sorted_ = false;
}

double WindowValues::quantile(std::span<const int64_t> windows, double q) const {
  if (!sorted_) {
    std::ranges::sort(values_, std::ranges::greater(), &Value::value);
    sorted_ = true;
  }
  std::vector<int64_t> times(counts_.size());
  int64_t total = 0;
  for (const int64_t w : windows) {
    ++times[static_cast<size_t>(w)];
    total += counts_[static_cast<size_t>(w)];
  }
  if (total == 0) return std::nan("");
  const double at = q * static_cast<double>(total - 1);
  const auto low = static_cast<int64_t>(at);
  const int64_t high = std::min(low + 1, total - 1);
  // Ranks from the largest value, which has rank 0.
  const int64_t high_rank = total - 1 - high, low_rank = total - 1 - low;
  double high_value = 0;
  bool high_found = false;
  int64_t passed = 0;
  for (const Value& v : values_) {
    passed += times[v.window];
    if (!high_found && passed > high_rank) {
      high_value = v.value;
      high_found = true;
    }
    if (passed > low_rank)
      return v.value + (at - static_cast<double>(low)) * (high_value - v.value);
  }
  return std::nan("");
}

}  // namespace lathe
