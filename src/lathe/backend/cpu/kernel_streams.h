// In which order one row of x meets the panels of a matrix. Included after lanes_*.h, once per
// instruction set.
#pragma once

#include "lathe/backend/cpu/kernels.h"

namespace lathe::cpu {
namespace {

// Panels that are read together: `panel`, panel + apart, and so on. Each is followed in its stream
// by the next one, or, where the streams end, by the one behind `skip` others.
struct Streams {
  int64_t panel, apart, skip;
  LANE_MEMBER int64_t at(int i) const { return panel + i * apart; }
};

// fn<kPanels>(streams) until every panel of [begin, end) has been in one. Streams are as long as
// there are panels for, up to kStreamBytes: where one jumps, memory falls behind.
template <int kStreams, typename Fn>
LANE void for_streams(const PackedView* w, int64_t begin, int64_t end, const Fn& fn) {
  // A panel of no bytes is a spread sparse one, of which there is one at a time.
  const int64_t most = w->panel_bytes > 0 ? 1 + (kStreamBytes - 1) / w->panel_bytes : 1;
  int64_t panel = begin;
  while (end - panel >= kStreams) {
    const int64_t left = (end - panel) / kStreams, apart = left < most ? left : most;
    const int64_t others = (kStreams - 1) * apart;
    for (int64_t i = 1; i <= apart; ++i, ++panel) {
      fn.template operator()<kStreams>(Streams{panel, apart, i < apart ? 0 : others});
    }
    panel += others;
  }
  for (; panel < end; ++panel) fn.template operator()<1>(Streams{panel, 1, 0});
}

// How far from byte `at` of a panel to look ahead in its stream for what is kDistance bytes on.
template <int64_t kDistance = kAhead>
LANE int64_t ahead_of(int64_t at, int64_t panel_bytes, const Streams& s) {
  return at + kDistance < panel_bytes ? kDistance : kDistance + s.skip * panel_bytes;
}

}  // namespace
}  // namespace lathe::cpu
