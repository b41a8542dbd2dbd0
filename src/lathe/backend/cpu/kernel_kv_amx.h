// The products of kernel_kv_int8.h with AMX tiles: both halves of eight rows fill one tile.
#pragma once

#include "lathe/backend/cpu/kernel_kv_int8.h"
#include "lathe/backend/cpu/tiles_amx.h"

namespace lathe::cpu {
namespace {

// Tiles 0–3: sums of four panels; 4: the rows; 5–7: codes. Needs the configuration of whole tiles.
struct TileProduct {
  static constexpr bool kRaised = false;
  template <int kPanels>
  static LANE_MEMBER void some(const KvProduct& p, KvSums* sums, Stream& stream) {
    static_assert(sizeof(KvSums) == 1024);
    _tile_zero(0);
    if constexpr (kPanels > 1) _tile_zero(1);
    if constexpr (kPanels > 2) _tile_zero(2);
    if constexpr (kPanels > 3) _tile_zero(3);
    TILE_FENCE();
    for (int64_t step = 0; step < p.steps; ++step) {
      const int8_t* codes = p.codes + step * p.step_bytes;
      _tile_loadd(4, p.side + step * kSideBytes, 64);
      _tile_loadd(5, codes, 64);
      _tile_dpbssd(0, 4, 5);
      stream.fetch(kTileCalls);
      if constexpr (kPanels > 1) {
        _tile_loadd(6, codes + p.panel_bytes, 64);
        _tile_dpbssd(1, 4, 6);
        stream.fetch(kTileCalls);
      }
      if constexpr (kPanels > 2) {
        _tile_loadd(7, codes + 2 * p.panel_bytes, 64);
        _tile_dpbssd(2, 4, 7);
        stream.fetch(kTileCalls);
      }
      if constexpr (kPanels > 3) {
        _tile_loadd(5, codes + 3 * p.panel_bytes, 64);
        _tile_dpbssd(3, 4, 5);
        stream.fetch(kTileCalls);
      }
    }
    _tile_stored(0, sums[0], 64);
    if constexpr (kPanels > 1) _tile_stored(1, sums[1], 64);
    if constexpr (kPanels > 2) _tile_stored(2, sums[2], 64);
    if constexpr (kPanels > 3) _tile_stored(3, sums[3], 64);
    TILE_FENCE();
  }
  static LANE_MEMBER void multiply(const KvProduct& p, KvSums* sums, Stream& stream) {
    if (p.panels == 4) return some<4>(p, sums, stream);
    if (p.panels == 3) return some<3>(p, sums, stream);
    if (p.panels == 2) return some<2>(p, sums, stream);
    some<1>(p, sums, stream);
  }
};

}  // namespace
}  // namespace lathe::cpu
