#include "lathe/compress/select.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "lathe/base/rng.h"

namespace lathe {
namespace {

// By sorting: the `count` smallest |w|, ties by position.
std::vector<uint8_t> reference(const std::vector<float>& w, int64_t count) {
  std::vector<size_t> order(w.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return std::fabs(w[a]) < std::fabs(w[b]); });
  std::vector<uint8_t> mask(w.size());
  for (int64_t i = 0; i < count; ++i) mask[order[static_cast<size_t>(i)]] = 1;
  return mask;
}

// The same through the selector, in pieces of different sizes.
std::vector<uint8_t> selected(const std::vector<float>& w, int64_t count, ThreadPool& pool) {
  MagnitudeSelector selector;
  const auto size = static_cast<int64_t>(w.size());
  const auto sweep = [&](const auto& visit) {
    for (int64_t at = 0, piece = 1; at < size; at += piece, piece = piece * 3 + 1) {
      visit(w.data() + at, std::min(piece, size - at));
    }
  };
  const auto add = [&](const float* x, int64_t n) { selector.add(x, n, pool); };
  sweep(add);
  selector.narrow(count);
  sweep(add);
  Cut cut = selector.cut();
  std::vector<uint8_t> all;
  sweep([&](const float* x, int64_t n) {
    std::vector<uint8_t> mask;
    apply_cut(x, n, cut, mask, pool);
    all.insert(all.end(), mask.begin(), mask.end());
  });
  return all;
}

TEST(Select, EqualsSorting) {
  Rng rng(1);
  for (const int threads : {1, 3}) {
    ThreadPool pool(threads);
    for (const double step : {0.0, 0.25}) {  // 0.25: nearly everything is a tie
      std::vector<float> w(200003);
      for (float& x : w) {
        const double value = rng.normal();
        x = static_cast<float>(step > 0 ? std::round(value / step) * step : value);
      }
      w[17] = -0.0f;
      w[4711] = 1e-42f;
      const auto size = static_cast<int64_t>(w.size());
      for (const int64_t count : {int64_t{1}, int64_t{2}, size / 10, size / 2, size - 1, size}) {
        EXPECT_EQ(selected(w, count, pool), reference(w, count))
            << "threads " << threads << " step " << step << " count " << count;
      }
    }
  }
}

TEST(Select, EqualWeightsGoByPosition) {
  ThreadPool pool(2);
  const std::vector<float> w(100, -3.0f);
  const auto mask = selected(w, 37, pool);
  for (size_t i = 0; i < w.size(); ++i) EXPECT_EQ(mask[i], i < 37) << i;
}

}  // namespace
}  // namespace lathe
