// Products of BF16 in AMX tiles: 32 tokens × 2 panels at once. The sums of one such square are
// added to those of the slabs before while the tiles of the next are multiplied: products that
// begin with sums from memory wait for them (docs/performance.md, prefill in tiles).
#pragma once

#include "lathe/backend/cpu/kernel_bf16_avx512.h"
#include "lathe/backend/cpu/tiles_amx.h"

namespace lathe::cpu {
namespace {

constexpr int64_t kSquareTokens = 2 * kTileTokens;

// Whether results fill cache lines of y, which are then written without being read before: they are
// far apart, so that each would be waited for.
LANE bool lines_are_whole(const Bf16Product* p, int64_t tokens) {
  const uintptr_t places = reinterpret_cast<uintptr_t>(p->y) | static_cast<uintptr_t>(p->ldy * 4);
  return tokens <= p->tokens && 2 * kPanel <= p->rows && places % 64 == 0;
}

// The products of a square, [32][2][16], on their way to its sums or to y.
struct Square {
  const float* products;
  int64_t token, tokens;  // the first, and how many there are
  bool whole;             // lines_are_whole()
  int64_t done;           // tokens

  LANE_MEMBER void finish_some(const Bf16Product* p, int64_t count) {
    const int64_t to = done + count < tokens ? done + count : tokens;
    for (; done < to; ++done) {
      const float* from = products + done * 2 * kPanel;
      float* sums = p->sums + (token + done) * 2 * kPanel;
      F a = load(from), b = load(from + kPanel);
      if (!p->first) {
        a = add(a, load(sums));
        b = add(b, load(sums + kPanel));
      }
      if (!p->last) {
        store(sums, a);
        store(sums + kPanel, b);
      } else if (whole) {
        stream(p, 0, a);
        stream(p, 1, b);
      } else {
        finish(p, token + done, 0, a);
        if (p->panels == 2) finish(p, token + done, 1, b);
      }
    }
  }

 private:
  LANE_MEMBER void stream(const Bf16Product* p, int64_t panel, F sums) const {
    if (p->bias) sums = add(sums, load(p->bias + panel * kPanel));
    _mm512_stream_ps(p->y + (token + done) * p->ldy + panel * kPanel, sums.v);
  }
};

// The products of kBlocks blocks of 16 tokens, [16 · kBlocks][2][16]; meanwhile `before` is
// finished. Tiles 0–3 hold sums (2 blocks × 2 panels), 4 and 5 tokens, 6 and 7 weights. Tokens are
// read past the first-level cache, in which the weights stay for those that follow.
template <int kBlocks>
LANE void multiply_square(const Bf16Product* p, int64_t block, Square* before, float* products) {
  const uint16_t* x0 = p->x + block * p->block_stride;
  const uint16_t* x1 = x0 + p->block_stride;
  const uint32_t* w0 = p->weights;
  const uint32_t* w1 = p->panels == 2 ? w0 + p->panel_stride : w0;
  const int64_t step = (kSquareTokens + p->tiles - 1) / p->tiles;
  _tile_zero(0);
  _tile_zero(1);
  if constexpr (kBlocks == 2) _tile_zero(2);
  if constexpr (kBlocks == 2) _tile_zero(3);
  for (int64_t k = 0; k < p->tiles; ++k) {
    _tile_stream_loadd(4, x0 + k * 512, 64);
    _tile_loadd(6, w0 + k * 256, 64);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(7, w1 + k * 256, 64);
    _tile_dpbf16ps(1, 4, 7);
    if constexpr (kBlocks == 2) {
      _tile_stream_loadd(5, x1 + k * 512, 64);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
    before->finish_some(p, step);
  }
  _tile_stored(0, products, 128);
  _tile_stored(1, products + kPanel, 128);
  if constexpr (kBlocks == 2) {
    _tile_stored(2, products + kTileTokens * 2 * kPanel, 128);
    _tile_stored(3, products + (kTileTokens * 2 + 1) * kPanel, 128);
  }
  TILE_FENCE();
}

void multiply_bf16(const Bf16Product* p) noexcept {
  TILE_FENCE();
  _tile_loadconfig(&kWholeTiles);
  alignas(64) float products[2][kSquareTokens * 2 * kPanel];
  Square before{};
  for (int64_t token = 0; token < p->tokens; token += kSquareTokens) {
    const int64_t left = p->tokens - token, block = token / kTileTokens;
    float* to = products[block / 2 % 2];
    if (left > kTileTokens) {
      multiply_square<2>(p, block, &before, to);
    } else {
      multiply_square<1>(p, block, &before, to);
    }
    before = {to, token, left < kSquareTokens ? left : kSquareTokens,
              lines_are_whole(p, token + kSquareTokens), 0};
  }
  before.finish_some(p, kSquareTokens);
  _tile_release();
  if (p->last) _mm_sfence();  // before other threads are told that y is there
}

}  // namespace
}  // namespace lathe::cpu
