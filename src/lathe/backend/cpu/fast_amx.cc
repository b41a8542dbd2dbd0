#include "lathe/backend/cpu/lanes_codes_avx512.h"
// The lanes come first.
#include "lathe/backend/cpu/kernel_bf16_avx512.h"
#include "lathe/backend/cpu/kernel_ints_amx.h"
#include "lathe/backend/cpu/kernel_kv_amx.h"
#include "lathe/backend/cpu/kernel_kv_tiles.h"
#include "lathe/backend/cpu/kernel_sparse_avx512.h"

namespace lathe::cpu {
namespace {

// Whether results fill cache lines of y, which are then written without being read before: they are
// far apart, so that each would be waited for (docs/performance.md, prefill in tiles).
bool lines_are_whole(const Bf16Product* p, int64_t tokens, int64_t panels) {
  const uintptr_t places = reinterpret_cast<uintptr_t>(p->y) | static_cast<uintptr_t>(p->ldy * 4);
  return tokens <= p->tokens && panels * kPanel <= p->rows && places % 64 == 0;
}

// Tiles 0–3 hold sums (2 blocks of 16 tokens × 2 panels), 4 and 5 tokens, 6 and 7 weights.
// Tokens are read past the first-level cache, in which the weights stay for those that follow.
template <int kBlocks, int kPanels>
void bf16_blocks(const Bf16Product* p, int64_t block) noexcept {
  const uint16_t* x0 = p->x + block * p->block_stride;
  const uint16_t* x1 = x0 + p->block_stride;
  const uint32_t* w0 = p->weights;
  const uint32_t* w1 = w0 + p->panel_stride;
  float* s0 = p->sums + block * 512;
  float* s1 = s0 + 512;
  if (p->first) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  } else {
    _tile_loadd(0, s0, 64);
    if constexpr (kPanels == 2) _tile_loadd(1, s0 + 256, 64);
    if constexpr (kBlocks == 2) _tile_loadd(2, s1, 64);
    if constexpr (kBlocks == 2 && kPanels == 2) _tile_loadd(3, s1 + 256, 64);
  }
  for (int64_t k = 0; k < p->tiles; ++k) {
    _tile_stream_loadd(4, x0 + k * 512, 64);
    _tile_loadd(6, w0 + k * 256, 64);
    _tile_dpbf16ps(0, 4, 6);
    if constexpr (kPanels == 2) {
      _tile_loadd(7, w1 + k * 256, 64);
      _tile_dpbf16ps(1, 4, 7);
    }
    if constexpr (kBlocks == 2) {
      _tile_stream_loadd(5, x1 + k * 512, 64);
      _tile_dpbf16ps(2, 5, 6);
    }
    if constexpr (kBlocks == 2 && kPanels == 2) _tile_dpbf16ps(3, 5, 7);
  }
  alignas(64) float results[1024];
  if (p->last) {
    s0 = results;
    s1 = results + 512;
  }
  _tile_stored(0, s0, 64);
  if constexpr (kPanels == 2) _tile_stored(1, s0 + 256, 64);
  if constexpr (kBlocks == 2) _tile_stored(2, s1, 64);
  if constexpr (kBlocks == 2 && kPanels == 2) _tile_stored(3, s1 + 256, 64);
  TILE_FENCE();
  if (!p->last) return;
  const int64_t first = block * kTileTokens;
  const bool whole = lines_are_whole(p, first + kBlocks * kTileTokens, kPanels);
  for (int64_t t = 0; t < kBlocks * kTileTokens; ++t) {
    for (int64_t n = 0; n < kPanels; ++n) {
      F v = load(results + t / 16 * 512 + n * 256 + t % 16 * kPanel);
      if (!whole) {
        finish(p, first + t, n, v);
        continue;
      }
      if (p->bias) v = add(v, load(p->bias + n * kPanel));
      _mm512_stream_ps(p->y + (first + t) * p->ldy + n * kPanel, v.v);
    }
  }
}

template <int kPanels>
void bf16_tokens(const Bf16Product* p) noexcept {
  const int64_t blocks = (p->tokens + kTileTokens - 1) / kTileTokens;
  int64_t block = 0;
  for (; block + 2 <= blocks; block += 2) bf16_blocks<2, kPanels>(p, block);
  if (block < blocks) bf16_blocks<1, kPanels>(p, block);
}

void multiply_bf16(const Bf16Product* p) noexcept {
  TILE_FENCE();
  _tile_loadconfig(&kWholeTiles);
  if (p->panels == 2) {
    bf16_tokens<2>(p);
  } else {
    bf16_tokens<1>(p);
  }
  _tile_release();
  if (p->last) _mm_sfence();  // before other threads are told that y is there
}

void attend_int8_tiled(const KvAttention* a) noexcept {
  TILE_FENCE();
  _tile_loadconfig(&kWholeTiles);
  attend_int8<TileProduct>(a);
  _tile_release();
}

}  // namespace

extern const FastKernels kAmxFast;
const FastKernels kAmxFast = {quantize,          multiply_codes_tiled, multiply_sparse, decode_bf16,
                              round_bf16,        multiply_bf16,        nullptr,         nullptr,
                              attend_int8_tiled, multiply_kv_tiles};
}  // namespace lathe::cpu
