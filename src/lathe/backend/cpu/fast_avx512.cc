#include "lathe/backend/cpu/lanes_codes_avx512.h"
// The lanes come first.
#include "lathe/backend/cpu/kernel_bf16_avx512.h"
#include "lathe/backend/cpu/kernel_bytes.h"
#include "lathe/backend/cpu/kernel_kv_int8.h"
#include "lathe/backend/cpu/kernel_sparse_avx512.h"

namespace lathe::cpu {
namespace {

// As in dot(). A function, since Clang 14 does not capture what a lambda names in assembly alone.
LANE void add_bf16(__m512& sum, __m512i weights, __m512i x) {
  asm("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(weights), "v"(x));
}

// Sums of up to 8 tokens × 2 panels in registers.
template <int kPanels, int kTokens>
void bf16_block(const Bf16Product* p, int64_t block, int64_t t) noexcept {
  const uint16_t* x = p->x + block * p->block_stride + t * kTileDepth;
  float* sums = p->sums + block * 512 + t * kPanel;
  __m512 acc[kPanels][kTokens];
  unrolled<kPanels>([&](auto n) UNROLLED {
    unrolled<kTokens>([&](auto i) UNROLLED {
      acc[n][i] = p->first ? _mm512_setzero_ps() : _mm512_load_ps(sums + n * 256 + i * kPanel);
    });
  });
  const uint32_t* weights = p->weights;
  const uint32_t* end = weights + p->tiles * 256;
  do {
    unrolled<16>([&](auto k) UNROLLED {
      __m512i w[kPanels];
      unrolled<kPanels>([&](auto n) UNROLLED {
        w[n] = _mm512_loadu_si512(weights + n * p->panel_stride + k * kPanel);
      });
      unrolled<kTokens>([&](auto i) UNROLLED {
        const __m512i value = quad(reinterpret_cast<const int8_t*>(x + i * kTileDepth + 2 * k)).v;
        unrolled<kPanels>([&](auto n) UNROLLED { add_bf16(acc[n][i], w[n], value); });
      });
    });
    weights += 256;
    x += 512;
  } while (weights < end);
  unrolled<kTokens>([&](auto i) UNROLLED {
    unrolled<kPanels>([&](auto n) UNROLLED {
      if (p->last) {
        finish(p, block * kTileTokens + t + i, n, {acc[n][i]});
      } else {
        _mm512_store_ps(sums + n * 256 + i * kPanel, acc[n][i]);
      }
    });
  });
}

template <int kPanels>
void bf16_tokens(const Bf16Product* p) noexcept {
  for (int64_t t = 0; t < p->tokens; t += 8) {
    const int64_t block = t / kTileTokens, in_block = t % kTileTokens;
    if (p->tokens - t > 4) {  // past the last token x is zero
      bf16_block<kPanels, 8>(p, block, in_block);
    } else {
      bf16_block<kPanels, 4>(p, block, in_block);
    }
  }
}

void multiply_bf16(const Bf16Product* p) noexcept {
  if (p->panels == 2) return bf16_tokens<2>(p);
  bf16_tokens<1>(p);
}

}  // namespace

extern const FastKernels kAvx512Fast;
const FastKernels kAvx512Fast = {
    quantize,    multiply_codes, multiply_sparse,          decode_bf16, round_bf16, multiply_bf16,
    round_bytes, multiply_bytes, attend_int8<LaneProduct>, nullptr};
}  // namespace lathe::cpu
