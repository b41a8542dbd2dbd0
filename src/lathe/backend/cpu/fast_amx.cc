#include "lathe/backend/cpu/lanes_codes_avx512.h"
// The lanes come first.
#include "lathe/backend/cpu/kernel_bf16_amx.h"
#include "lathe/backend/cpu/kernel_ints_amx.h"
#include "lathe/backend/cpu/kernel_kv_amx.h"
#include "lathe/backend/cpu/kernel_kv_tiles.h"
#include "lathe/backend/cpu/kernel_sparse_avx512.h"

namespace lathe::cpu {
namespace {

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
