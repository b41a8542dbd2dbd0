#include "lathe/formats/run_loops.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

namespace lathe::formats {
namespace {

std::vector<float> normal(int64_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> values;
  std::vector<float> out(static_cast<size_t>(count));
  for (float& x : out) x = values(random);
  return out;
}

constexpr int64_t kCounts[] = {1, 2, 15, 16, 17, 31, 33, 64, 127, 128, 200};

TEST(RunLoops, TheRangeIncludesZero) {
  for (const int64_t count : kCounts) {
    std::vector<float> x = normal(count, 1);
    const auto [low, high] = std::minmax_element(x.begin(), x.end());
    Range range = range_of(x.data(), count);
    EXPECT_EQ(range.low, std::min(0.0f, *low)) << count;
    EXPECT_EQ(range.high, std::max(0.0f, *high)) << count;
    for (float& v : x) v = 1 + std::fabs(v);
    range = range_of(x.data(), count);
    EXPECT_EQ(range.low, 0.0f) << count;
  }
}

TEST(RunLoops, RanksCountTheBoundsBelow) {
  std::array<float, 15> bounds;
  for (size_t b = 0; b < 15; ++b) bounds[b] = (static_cast<float>(b) - 7) / 8;
  bounds[8] = bounds[7];  // FP4 has two zeros
  for (const bool divided : {false, true}) {
    for (const int64_t count : kCounts) {
      std::vector<float> x = normal(count, 2);
      x[0] = divided ? bounds[3] * 2 : bounds[3] / 2;  // scaled, it is a bound
      const float factor = 2;
      std::vector<uint8_t> ranks(static_cast<size_t>(count));
      rank_codes(x.data(), count, factor, divided, bounds, ranks.data());
      for (size_t i = 0; i < x.size(); ++i) {
        const float scaled = divided ? x[i] / factor : x[i] * factor;
        const auto below = std::count_if(bounds.begin(), bounds.end(),
                                         [&](float bound) { return bound < scaled; });
        EXPECT_EQ(ranks[i], below) << i << " of " << count;
      }
    }
  }
}

TEST(RunLoops, PairsArePackedEitherWay) {
  std::mt19937 random(4);
  for (const int64_t count : {2, 16, 62, 64, 66, 128, 200}) {
    std::vector<uint8_t> codes(static_cast<size_t>(count));
    for (uint8_t& code : codes) code = random() & 15;
    std::vector<uint8_t> low(codes.size() / 2 + 1, 99), high = low;
    pack_low_first(codes.data(), count, low.data());
    pack_high_first(codes.data(), count, high.data());
    for (size_t i = 0; i < codes.size() / 2; ++i) {
      EXPECT_EQ(low[i], codes[2 * i] | codes[2 * i + 1] << 4) << i << " of " << count;
      EXPECT_EQ(high[i], codes[2 * i] << 4 | codes[2 * i + 1]) << i << " of " << count;
    }
    EXPECT_EQ(low.back(), 99);
    EXPECT_EQ(high.back(), 99);
  }
}

TEST(RunLoops, PairsAreLookedUpTheHighOneFirst) {
  std::array<float, 16> table;
  for (size_t c = 0; c < 16; ++c) table[c] = static_cast<float>(c * c) - 3.5f;
  std::vector<uint8_t> pairs(100);
  std::mt19937 random(3);
  for (uint8_t& pair : pairs) pair = static_cast<uint8_t>(random());
  for (const int64_t count : kCounts) {
    std::vector<float> out(static_cast<size_t>(count) + 1, -1.0f);
    look_up_pairs(pairs.data(), count, table, out.data());
    for (int64_t i = 0; i < count; ++i) {
      const int pair = pairs[static_cast<size_t>(i / 2)];
      EXPECT_EQ(out[static_cast<size_t>(i)],
                table[static_cast<size_t>(i % 2 ? pair & 15 : pair >> 4)])
          << i << " of " << count;
    }
    EXPECT_EQ(out.back(), -1.0f);
  }
}

}  // namespace
}  // namespace lathe::formats
