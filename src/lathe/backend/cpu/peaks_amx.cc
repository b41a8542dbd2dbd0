#include <immintrin.h>

#include "lathe/backend/cpu/peaks.h"
#include "lathe/backend/cpu/tiles_amx.h"

namespace lathe::cpu {
namespace {

const uint8_t kZeros[16 * 64] = {};

void begin() {
  _tile_loadconfig(&kWholeTiles);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_loadd(4, kZeros, 64);
  _tile_loadd(5, kZeros, 64);
  _tile_loadd(6, kZeros, 64);
  _tile_loadd(7, kZeros, 64);
}

int64_t end() {
  int32_t sums[16 * 16];
  _tile_stored(0, sums, 64);
  _tile_release();
  return sums[0];
}

}  // namespace

int64_t burn_bf16_amx(int64_t rounds, int64_t* ops) noexcept {
  begin();
  for (int64_t r = 0; r < rounds; ++r) {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  *ops = 4 * 16 * 16 * 32 * 2;
  return end();
}

int64_t burn_int8_amx(int64_t rounds, int64_t* ops) noexcept {
  begin();
  for (int64_t r = 0; r < rounds; ++r) {
    _tile_dpbusd(0, 4, 6);
    _tile_dpbusd(1, 4, 7);
    _tile_dpbusd(2, 5, 6);
    _tile_dpbusd(3, 5, 7);
  }
  *ops = 4 * 16 * 16 * 64 * 2;
  return end();
}

}  // namespace lathe::cpu
