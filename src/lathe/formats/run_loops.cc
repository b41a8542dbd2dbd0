#include "lathe/formats/run_loops.h"

#include <bit>
#include <cstring>

#include "lathe/base/wide.h"
#include "lathe/formats/detail.h"
#include "lathe/formats/run_loops_avx512.h"

namespace lathe::formats {

LATHE_WIDE float absmax(const float* x, int64_t count) {
  int32_t most = 0;
  for (int64_t i = 0; i < count; ++i) {
    const int32_t bits = std::bit_cast<int32_t>(x[i]) & 0x7fffffff;
    most = bits > most ? bits : most;
  }
  return std::bit_cast<float>(most);
}

LATHE_WIDE Range range_of(const float* x, int64_t count) {
  constexpr int kLanes = 32;
  float low[kLanes] = {}, high[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int l = 0; l < kLanes; ++l) low[l] = x[i + l] < low[l] ? x[i + l] : low[l];
    for (int l = 0; l < kLanes; ++l) high[l] = x[i + l] > high[l] ? x[i + l] : high[l];
  }
  // By halves, which are vectors too.
  for (int half = kLanes / 2; half >= 1; half /= 2) {
    for (int l = 0; l < half; ++l) low[l] = low[l + half] < low[l] ? low[l + half] : low[l];
    for (int l = 0; l < half; ++l) high[l] = high[l + half] > high[l] ? high[l + half] : high[l];
  }
  for (; i < count; ++i) {
    low[0] = x[i] < low[0] ? x[i] : low[0];
    high[0] = x[i] > high[0] ? x[i] : high[0];
  }
  return {low[0], high[0]};
}

LATHE_WIDE void round_codes(const float* x, int64_t count, float factor, int zero, int lowest,
                            int highest, uint8_t* codes) {
  for (int64_t i = 0; i < count; ++i) {
    const int32_t code = round_even(x[i] * factor) + zero;
    const int32_t raised = code < lowest ? lowest : code;
    codes[i] = static_cast<uint8_t>(raised > highest ? highest : raised);
  }
}

LATHE_WIDE void round_bytes(const float* x, int64_t count, float lift, float factor,
                            int8_t* codes) {
  for (int64_t i = 0; i < count; ++i) {
    codes[i] = static_cast<int8_t>(round_even((x[i] * lift) * factor));
  }
}

LATHE_WIDE void scale_bytes(const int8_t* codes, int64_t count, float scale, float* out) {
  for (int64_t i = 0; i < count; ++i) out[i] = static_cast<float>(codes[i]) * scale;
}

// A pair of bytes as one little-endian number.
LATHE_WIDE void pack_low_first(const uint8_t* codes, int64_t count, uint8_t* out) {
  const int64_t done = has_avx512() ? pack_pairs_avx512(codes, count, 1, 16, out) : 0;
  for (int64_t i = done / 2; i < count / 2; ++i) {
    uint16_t pair;
    std::memcpy(&pair, codes + 2 * i, 2);
    out[i] = static_cast<uint8_t>(pair | pair >> 4);
  }
}
LATHE_WIDE void pack_high_first(const uint8_t* codes, int64_t count, uint8_t* out) {
  const int64_t done = has_avx512() ? pack_pairs_avx512(codes, count, 16, 1, out) : 0;
  for (int64_t i = done / 2; i < count / 2; ++i) {
    uint16_t pair;
    std::memcpy(&pair, codes + 2 * i, 2);
    out[i] = static_cast<uint8_t>(pair << 4 | pair >> 8);
  }
}

LATHE_WIDE void scale_pairs(const uint8_t* pairs, int64_t count, float scale, int zero,
                            float* out) {
  constexpr int64_t kChunk = 256;
  uint8_t codes[kChunk];
  for (int64_t begin = 0; begin < count; begin += kChunk) {
    const int64_t n = count - begin < kChunk ? count - begin : kChunk;
    for (int64_t i = 0; i < (n + 1) / 2; ++i) {
      const uint16_t byte = pairs[begin / 2 + i];
      const auto both = static_cast<uint16_t>((byte | byte << 4) & 0x0f0f);
      std::memcpy(codes + 2 * i, &both, 2);
    }
    for (int64_t i = 0; i < n; ++i) {
      out[begin + i] = scale * static_cast<float>(static_cast<int32_t>(codes[i]) - zero);
    }
  }
}

LATHE_WIDE void look_up_pairs(const uint8_t* pairs, int64_t count,
                              const std::array<float, 16>& table, float* out) {
  constexpr int64_t kChunk = 64;
  int32_t codes[kChunk];
  const float* values = table.data();
  for (int64_t begin = has_avx512() ? look_up_pairs_avx512(pairs, count, table, out) : 0;
       begin < count; begin += kChunk) {
    const int64_t n = count - begin < kChunk ? count - begin : kChunk;
    for (int64_t i = 0; i < (n + 1) / 2; ++i) {
      const int32_t byte = pairs[begin / 2 + i];
      codes[2 * i] = byte >> 4;
      codes[2 * i + 1] = byte & 15;
    }
    for (int64_t i = 0; i < n; ++i) out[begin + i] = values[codes[i]];
  }
}

LATHE_WIDE void rank_codes(const float* x, int64_t count, float factor, bool divided,
                           const std::array<float, 15>& bounds, uint8_t* ranks) {
  constexpr int64_t kChunk = 64;
  int64_t begin = has_avx512() ? rank_codes_avx512(x, count, factor, divided, bounds, ranks) : 0;
  if (begin == count) return;  // before the bounds are copied
  float scaled[kChunk];
  int32_t sums[kChunk];
  const std::array<float, 15> own = bounds;
  for (; begin < count; begin += kChunk) {
    const int64_t n = count - begin < kChunk ? count - begin : kChunk;
    for (int64_t i = 0; i < n; ++i) {
      const float s = divided ? x[begin + i] / factor : x[begin + i] * factor;
      const float low = s < -1.0f ? -1.0f : s;
      scaled[i] = low > 1.0f ? 1.0f : low;
    }
    for (int64_t i = 0; i < n; ++i) {
      int32_t rank = 0;
      for (size_t b = 0; b < 15; ++b) rank += scaled[i] > own[b] ? 1 : 0;
      sums[i] = rank;
    }
    for (int64_t i = 0; i < n; ++i) ranks[begin + i] = static_cast<uint8_t>(sums[i]);
  }
}

}  // namespace lathe::formats
