// The loops of run_loops.h that AVX-512 has instructions for, or tables of one register: each
// returns how many of `count` it has done, a multiple of 16; the portable loop goes on there. Same
// bits.
#pragma once

#include <array>
#include <cstdint>

namespace lathe::formats {

bool has_avx512();

// Of each pair of codes first · even + second · odd, in a byte.
int64_t pack_pairs_avx512(const uint8_t* codes, int64_t count, int first, int second, uint8_t* out);
int64_t look_up_pairs_avx512(const uint8_t* pairs, int64_t count,
                             const std::array<float, 16>& table, float* out);
// `bounds` ascend: four steps of a binary search.
int64_t rank_codes_avx512(const float* x, int64_t count, float factor, bool divided,
                          const std::array<float, 15>& bounds, uint8_t* ranks);

}  // namespace lathe::formats
