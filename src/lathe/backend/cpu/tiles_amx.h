// What the AMX kernels share: the shape of tiles, and order between tiles and memory.
#pragma once

#include <stdint.h>

// Compilers do not see which memory the tile instructions touch.
#define TILE_FENCE() __asm__ volatile("" ::: "memory")

namespace lathe::cpu {
namespace {

// Operand of _tile_loadconfig(): eight tiles of 16 rows of 64 bytes unless changed.
struct alignas(64) TileConfig {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
static_assert(sizeof(TileConfig) == 64);
// Constant, and so in memory whole: GCC before 13 believes that ldtilecfg reads eight bytes, and
// drops what else a function has written.
const TileConfig kWholeTiles;

}  // namespace
}  // namespace lathe::cpu
