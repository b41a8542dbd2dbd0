#include <algorithm>
#include <vector>

#include "lathe/formats/codebook4.h"
#include "lathe/formats/detail.h"

namespace lathe::formats {
namespace {

constexpr int kLanes = 8, kRows = 4, kLevels = 4;

// Sums of kRows·kLanes interleaved columns over `count` steps. Partial sums move up a level each
// time their own count fills up, which keeps the rounding error of long sums small.
struct Cascade {
  float level[kLevels][kRows * kLanes] = {};

  void sum(const float* x, int64_t count) {
    const int width = std::bit_width(static_cast<uint64_t>(std::max<int64_t>(count, 1) - 1));
    const int power = std::max(4, width / kLevels);
    const int64_t step = int64_t{1} << power;
    int64_t i = 0;
    while (i + step <= count) {
      for (const int64_t stop = i + step; i < stop; ++i) add(x + i * kRows * kLanes);
      for (int j = 1; j < kLevels; ++j) {
        carry(j);
        if (i & ((step - 1) << (j * power))) break;
      }
    }
    for (; i < count; ++i) add(x + i * kRows * kLanes);
    for (int j = 1; j < kLevels; ++j) {
      for (int c = 0; c < kRows * kLanes; ++c) level[0][c] += level[j][c];
    }
  }

 private:
  void add(const float* x) {
    for (int c = 0; c < kRows * kLanes; ++c) level[0][c] += x[c];
  }
  void carry(int j) {
    for (int c = 0; c < kRows * kLanes; ++c) {
      level[j][c] += level[j - 1][c];
      level[j - 1][c] = 0.0f;
    }
  }
};

std::array<float, 256> make_dynamic_map() {
  constexpr int kDecades = 7;
  std::array<float, 256> map{};
  size_t n = 0;
  double decade = 1e-6;
  for (int d = 0; d < kDecades; ++d, decade = std::pow(10.0, d - 6)) {
    const int steps = 1 << d;  // means of `steps` equal parts of [0.1, 1]
    const float step = (1.0f - 0.1f) / static_cast<float>(steps);
    // Points of the reference's linspace: counted from the nearer end, one rounding each.
    const auto point = [&](int i) {
      return i < (steps + 1) / 2 ? std::fma(step, static_cast<float>(i), 0.1f)
                                 : std::fma(-step, static_cast<float>(steps - i), 1.0f);
    };
    for (int i = 0; i < steps; ++i) {
      const float mean = (point(i) + point(i + 1)) / 2.0f;
      const float value = static_cast<float>(decade) * mean;
      map[n++] = value;
      map[n++] = -value;
    }
  }
  map[n++] = 0.0f;
  map[n++] = 1.0f;
  std::sort(map.begin(), map.end());
  return map;
}

}  // namespace

const std::array<float, 256>& dynamic_map() {
  static const std::array<float, 256> map = make_dynamic_map();
  return map;
}

float mean_like_torch(const float* x, int64_t count) {
  const int64_t vectors = count / kLanes;
  const int64_t steps = vectors / kRows;
  Cascade cascade;
  cascade.sum(x, steps);
  float* rows = cascade.level[0];
  for (int64_t v = steps * kRows; v < vectors; ++v) {
    for (int l = 0; l < kLanes; ++l) rows[l] += x[v * kLanes + l];
  }
  for (int r = 1; r < kRows; ++r) {
    for (int l = 0; l < kLanes; ++l) rows[l] += rows[r * kLanes + l];
  }
  float total = 0.0f;
  for (int64_t i = vectors * kLanes; i < count; ++i) total += x[i];
  for (int l = 0; l < kLanes; ++l) total += rows[l];
  return total / static_cast<float>(count);
}

void encode_nested(const float* x, int64_t count, uint8_t* codes, uint8_t* absmax_out) {
  constexpr float kSteps = 65535.0f;
  const std::array<float, 256>& map = dynamic_map();
  std::array<float, 255> bounds;
  for (size_t i = 0; i < bounds.size(); ++i) bounds[i] = 0.5f * (map[i] + map[i + 1]);
  for (int64_t begin = 0; begin < count; begin += kNestedBlock) {
    const int64_t n = std::min(kNestedBlock, count - begin);
    const float most = absmax(x + begin, n);
    store(absmax_out, begin / kNestedBlock, most);
    const float factor = 1.0f / most;
    for (int64_t i = begin; i < begin + n; ++i) {
      if (most == 0.0f || !std::isfinite(factor)) {
        codes[i] = 0;
        continue;
      }
      const float scaled = std::clamp(x[i] * factor, -1.0f, 1.0f);
      const auto snapped = static_cast<int32_t>((scaled + 1.0f) * 0.5f * kSteps + 0.5f);
      const float value = -1.0f + (2.0f * static_cast<float>(snapped)) / kSteps;
      codes[i] = static_cast<uint8_t>(std::lower_bound(bounds.begin(), bounds.end(), value) -
                                      bounds.begin());
    }
  }
}

}  // namespace lathe::formats
