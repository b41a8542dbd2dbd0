// Matrix kernels over lanes: packed codes times few tokens, decoding to f32 tiles, and tiles times
// many tokens. Included after lanes_*.h, once per instruction set.
#pragma once

#include "lathe/backend/cpu/kernel_codes.h"
#include "lathe/backend/cpu/kernel_streams.h"

namespace lathe::cpu {
namespace {

// ---- few tokens -------------------------------------------------------------------------------

// Independent chains per token, so that the latency of the addition is hidden.
template <int kTokens>
constexpr int kChains = kChainsAtOnce / kTokens > 0 ? kChainsAtOnce / kTokens : 1;

// A step of kBytes has lines of `kColumnsOfLine` columns, each of which asks for another one.
template <int kTokens, int64_t kBytes>
struct Products {
  static constexpr int kColumnsOfLine = kBytes <= 64 ? 8 : 8 / static_cast<int>(kBytes / 64);
  const float* x;        // [8][kTokens]
  const uint8_t* ahead;  // what to ask for
  F sums[kTokens][kChains<kTokens>];

  template <int J>
  LANE_MEMBER void at(const F& weights) {
    if constexpr (J % kColumnsOfLine == 0) prefetch(ahead + J / kColumnsOfLine * 64);
    for (int t = 0; t < kTokens; ++t) {
      F& s = sums[t][J % kChains<kTokens>];
      s = fma(weights, set1(x[J * kTokens + t]), s);
    }
  }
  LANE_MEMBER void clear() {
    for (auto& token : sums) {
      for (F& s : token) s = zero();
    }
  }
  LANE_MEMBER F total(int t) const {
    F s[kChains<kTokens>];
    for (int i = 0; i < kChains<kTokens>; ++i) s[i] = sums[t][i];
    for (int n = kChains<kTokens>; n > 1; n = (n + 1) / 2) {
      for (int i = 0; i < n / 2; ++i) s[i] = add(s[i], s[i + (n + 1) / 2]);
    }
    return s[0];
  }
};

constexpr bool is_float(Codes codes) {
  return codes == Codes::kF32 || codes == Codes::kF16 || codes == Codes::kBf16;
}

// Each panel is summed alone, so that their number changes no bit.
template <Codes kCodes, int kHigh, int kTokens, int kPanels>
LANE void few_panels(const PackedView* w, const Streams& streams, const float* x, const float* sums,
                     const float* bias, float* y, int64_t ldy) {
  const Tables tables{load_table(w->table), load_table(w->high_table)};
  const bool offset = has_offset(w);
  const uint8_t *p[kPanels], *high[kPanels];
  int64_t rows[kPanels];
  F total[kPanels][kTokens];
  for (int i = 0; i < kPanels; ++i) {
    const int64_t n = streams.at(i);
    p[i] = w->data + n * w->panel_bytes;
    high[i] = kHigh > 0 ? w->high + n * w->high_panel_bytes : nullptr;
    rows[i] = rows_of(w, n);
    for (F& t : total[i]) t = bias ? load_part(bias + n * kPanel, rows[i]) : zero();
  }
  Products<kTokens, kStepBytes<kCodes>> products[kPanels];
  for (int64_t g = 0; g < w->groups; ++g) {
    const int64_t first_column = g * w->group;
    const int64_t last = first_column + w->group < w->cols ? first_column + w->group : w->cols;
    for (auto& one : products) one.clear();
    for (int64_t k = first_column; k < last; k += 8) {
      const int64_t ahead = ahead_of(k / 8 * kStepBytes<kCodes>, w->panel_bytes, streams);
      for (int i = 0; i < kPanels; ++i) {
        products[i].x = x + k * kTokens;
        products[i].ahead = p[i] + ahead;
        step<kCodes, kHigh>(tables, p[i], high[i], k, products[i]);
        p[i] += kStepBytes<kCodes>;
      }
    }
    for (int i = 0; i < kPanels; ++i) {
      if constexpr (is_float(kCodes)) {
        for (int t = 0; t < kTokens; ++t) total[i][t] = add(total[i][t], products[i].total(t));
      } else {
        const F scale = group_scale(w, streams.at(i), g);
        for (int t = 0; t < kTokens; ++t) {
          total[i][t] = fma(scale, products[i].total(t), total[i][t]);
        }
        if (offset) {
          const F o = group_offset(w, streams.at(i), g, scale);
          for (int t = 0; t < kTokens; ++t) {
            total[i][t] = fma(o, set1(sums[t * w->groups + g]), total[i][t]);
          }
        }
      }
    }
  }
  for (int i = 0; i < kPanels; ++i) {
    for (int t = 0; t < kTokens; ++t) {
      store_part(y + t * ldy + streams.at(i) * kPanel, total[i][t], rows[i]);
    }
  }
}

template <Codes kCodes, int kHigh, int kTokens>
void few(const PackedView* w, int64_t begin, int64_t end, const float* x, const float* sums,
         const float* bias, float* y, int64_t ldy) noexcept {
  constexpr int kStreams = is_float(kCodes) && kTokens == 1 ? kStreamsAtOnce : 1;
  for_streams<kStreams>(
      w, begin, end, [&]<int kPanels>(const Streams& s) __attribute__((always_inline)) {
        few_panels<kCodes, kHigh, kTokens, kPanels>(w, s, x, sums, bias, y, ldy);
      });
}

template <Codes kCodes, int kHigh>
void few_of(const PackedView* w, int64_t begin, int64_t end, const float* x, const float* sums,
            int32_t tokens, const float* bias, float* y, int64_t ldy) noexcept {
  static_assert(kFewTokens == 4);
  switch (tokens) {
    case 1:
      return few<kCodes, kHigh, 1>(w, begin, end, x, sums, bias, y, ldy);
    case 2:
      return few<kCodes, kHigh, 2>(w, begin, end, x, sums, bias, y, ldy);
    case 3:
      return few<kCodes, kHigh, 3>(w, begin, end, x, sums, bias, y, ldy);
    default:
      return few<kCodes, kHigh, 4>(w, begin, end, x, sums, bias, y, ldy);
  }
}

void multiply_few(const PackedView* w, int64_t begin, int64_t end, const float* x,
                  const float* sums, int32_t tokens, const float* bias, float* y,
                  int64_t ldy) noexcept {
  switch (w->codes) {
    case Codes::kF32:
      return few_of<Codes::kF32, 0>(w, begin, end, x, sums, tokens, bias, y, ldy);
    case Codes::kF16:
      return few_of<Codes::kF16, 0>(w, begin, end, x, sums, tokens, bias, y, ldy);
    case Codes::kBf16:
      return few_of<Codes::kBf16, 0>(w, begin, end, x, sums, tokens, bias, y, ldy);
    case Codes::kInt8:
      return few_of<Codes::kInt8, 0>(w, begin, end, x, sums, tokens, bias, y, ldy);
    case Codes::kInt2:
      if (w->high_bits == 1) {
        return few_of<Codes::kInt2, 1>(w, begin, end, x, sums, tokens, bias, y, ldy);
      }
      return few_of<Codes::kInt2, 0>(w, begin, end, x, sums, tokens, bias, y, ldy);
    case Codes::kInt4:
      break;
  }
  if (w->high_bits == 1) {
    return few_of<Codes::kInt4, 1>(w, begin, end, x, sums, tokens, bias, y, ldy);
  }
  if (w->high_bits == 2) {
    return few_of<Codes::kInt4, 2>(w, begin, end, x, sums, tokens, bias, y, ldy);
  }
  few_of<Codes::kInt4, 0>(w, begin, end, x, sums, tokens, bias, y, ldy);
}

// ---- decoding ---------------------------------------------------------------------------------

struct Writer {
  float* tile;
  int64_t stride;
  F scale, offset, zero_point;
  bool scaled, with_offset;

  template <int J>
  LANE_MEMBER void at(const F& weights) {
    F v = weights;
    if (scaled) v = mul(scale, sub(v, zero_point));
    if (with_offset) v = add(v, offset);
    store(tile + J * stride, v);
  }
};

template <Codes kCodes, int kHigh>
void decode_of(const PackedView* w, int64_t panel, int64_t begin, int64_t end, float* tile,
               int64_t stride) noexcept {
  const Tables tables{load_table(w->table), load_table(w->high_table)};
  const uint8_t* data = w->data + panel * w->panel_bytes;
  const uint8_t* high = kHigh > 0 ? w->high + panel * w->high_panel_bytes : nullptr;
  Writer writer{};
  writer.stride = stride;
  writer.scaled = w->scale_kind != Scales::kNone;
  writer.with_offset = w->offsets || w->mins;
  writer.zero_point = zero();
  for (int64_t g = begin / w->group; g * w->group < end; ++g) {
    const int64_t first_column = g * w->group > begin ? g * w->group : begin;
    const int64_t last = (g + 1) * w->group < end ? (g + 1) * w->group : end;
    if (writer.scaled) {
      writer.scale = group_scale(w, panel, g);
      if (w->zeros) writer.zero_point = load_u8(w->zeros + (panel * w->groups + g) * kPanel);
      if (writer.with_offset) writer.offset = group_offset(w, panel, g, writer.scale);
    }
    for (int64_t k = first_column; k < last; k += 8) {
      writer.tile = tile + (k - begin) * stride;
      step<kCodes, kHigh>(tables, data + k / 8 * kStepBytes<kCodes>, high, k, writer);
    }
  }
}

void decode(const PackedView* w, int64_t panel, int64_t begin, int64_t end, float* tile,
            int64_t stride) noexcept {
  switch (w->codes) {
    case Codes::kF32:
      return decode_of<Codes::kF32, 0>(w, panel, begin, end, tile, stride);
    case Codes::kF16:
      return decode_of<Codes::kF16, 0>(w, panel, begin, end, tile, stride);
    case Codes::kBf16:
      return decode_of<Codes::kBf16, 0>(w, panel, begin, end, tile, stride);
    case Codes::kInt8:
      return decode_of<Codes::kInt8, 0>(w, panel, begin, end, tile, stride);
    case Codes::kInt2:
      if (w->high_bits == 1) return decode_of<Codes::kInt2, 1>(w, panel, begin, end, tile, stride);
      return decode_of<Codes::kInt2, 0>(w, panel, begin, end, tile, stride);
    case Codes::kInt4:
      break;
  }
  if (w->high_bits == 1) return decode_of<Codes::kInt4, 1>(w, panel, begin, end, tile, stride);
  if (w->high_bits == 2) return decode_of<Codes::kInt4, 2>(w, panel, begin, end, tile, stride);
  decode_of<Codes::kInt4, 0>(w, panel, begin, end, tile, stride);
}

// ---- tiles times many tokens ------------------------------------------------------------------

// Outer products: each column of the tile is loaded once and multiplied with one value per token.
template <int kPanels, int kTokens, bool kPacked>
LANE void block(const float* tile, int64_t stride, int64_t depth, const float* x, int64_t ldx,
                float* y, int64_t ldy, bool accumulate) {
  F acc[kPanels][kTokens];
  for (int p = 0; p < kPanels; ++p) {
    for (int t = 0; t < kTokens; ++t) {
      acc[p][t] = accumulate ? load(y + t * ldy + p * kPanel) : zero();
    }
  }
  for (int64_t k = 0; k < depth; ++k, tile += stride) {
    F weights[kPanels];
    for (int p = 0; p < kPanels; ++p) weights[p] = load(tile + p * kPanel);
    for (int t = 0; t < kTokens; ++t) {
      const F value = set1(kPacked ? x[k * kTokensAtOnce + t] : x[t * ldx + k]);
      for (int p = 0; p < kPanels; ++p) acc[p][t] = fma(weights[p], value, acc[p][t]);
    }
  }
  for (int p = 0; p < kPanels; ++p) {
    for (int t = 0; t < kTokens; ++t) store(y + t * ldy + p * kPanel, acc[p][t]);
  }
}

template <int kPanels, int kTokens, bool kPacked>
void block_of(const float* tile, int64_t stride, int64_t depth, const float* x, int64_t ldx,
              float* y, int64_t ldy, int32_t tokens, bool accumulate) noexcept {
  if constexpr (kTokens > 0) {
    if (tokens == kTokens) {
      block<kPanels, kTokens, kPacked>(tile, stride, depth, x, ldx, y, ldy, accumulate);
    } else {
      block_of<kPanels, kTokens - 1, kPacked>(tile, stride, depth, x, ldx, y, ldy, tokens,
                                              accumulate);
    }
  }
}

void multiply(const float* tile, int64_t stride, int64_t depth, const float* x, float* y,
              int64_t ldy, int32_t panels, int32_t tokens, bool accumulate) noexcept {
  if (panels == 1) {
    block_of<1, kTokensAtOnce, true>(tile, stride, depth, x, 0, y, ldy, tokens, accumulate);
  } else {
    block_of<kPanelsAtOnce, kTokensAtOnce, true>(tile, stride, depth, x, 0, y, ldy, tokens,
                                                 accumulate);
  }
}

void multiply_rows(const float* tile, int64_t stride, int64_t depth, const float* x, int64_t ldx,
                   float* y, int64_t ldy, int64_t tokens, bool accumulate) noexcept {
  for (int64_t t = 0; t < tokens; t += kTokensAtOnce) {
    const int64_t left = tokens - t < kTokensAtOnce ? tokens - t : kTokensAtOnce;
    block_of<1, kTokensAtOnce, false>(tile, stride, depth, x + t * ldx, ldx, y + t * ldy, ldy,
                                      static_cast<int32_t>(left), accumulate);
  }
}

void transpose(const float* from, int64_t ld_from, int64_t rows, int64_t cols, float* to,
               int64_t ld_to) noexcept {
  for (int64_t c = 0; c < cols; c += kPanel) {
    const int64_t left = cols - c < kPanel ? cols - c : kPanel;
    F r[16];
    for (int64_t i = 0; i < 16; ++i) {
      r[i] = i >= rows        ? zero()
             : left == kPanel ? load(from + i * ld_from + c)
                              : load_part(from + i * ld_from + c, left);
    }
    transpose16(r);
    for (int64_t i = 0; i < left; ++i) store(to + (c + i) * ld_to, r[i]);
  }
}

float dot(const float* a, const float* b, int64_t n) noexcept {
  F s[4] = {zero(), zero(), zero(), zero()};
  int64_t i = 0;
  for (; i + 64 <= n; i += 64) {
    for (int j = 0; j < 4; ++j) s[j] = fma(load(a + i + 16 * j), load(b + i + 16 * j), s[j]);
  }
  for (; i + 16 <= n; i += 16) s[0] = fma(load(a + i), load(b + i), s[0]);
  if (i < n) s[1] = fma(load_part(a + i, n - i), load_part(b + i, n - i), s[1]);
  return sum(add(add(s[0], s[1]), add(s[2], s[3])));
}

}  // namespace
}  // namespace lathe::cpu
