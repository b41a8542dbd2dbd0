// Loops whose indices are constants. Included after lanes_*.h, once per instruction set.
#pragma once

#include "lathe/backend/cpu/kernels.h"

namespace lathe::cpu {
namespace {

// fn(Index<0>) … fn(Index<kCount − 1>). GCC keeps an array in registers only where its indices are
// constants before it unrolls loops.
template <int kValue>
struct Index {
  static constexpr int kIndex = kValue;
  // An index is written as a number. NOLINTNEXTLINE(google-explicit-constructor)
  LANE_MEMBER constexpr operator int() const { return kValue; }
};
template <int kCount, int kFirst = 0, typename Fn>
LANE void unrolled(const Fn& fn) {
  if constexpr (kFirst < kCount) {
    fn(Index<kFirst>{});
    unrolled<kCount, kFirst + 1>(fn);
  }
}
#define UNROLLED __attribute__((always_inline))

}  // namespace
}  // namespace lathe::cpu
