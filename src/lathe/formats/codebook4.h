// NF4 and FP4 in two steps, and
// double quantization, the second stage of NF4 and FP4: the absmax of the blocks are themselves
// stored in 8 bits. Source: bitsandbytes 0.50, functional.py (quantize_4bit, create_dynamic_map)
// and its CPU library (quantize_blockwise).
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "lathe/formats/format.h"

namespace lathe::formats {

constexpr int64_t kNestedBlock = 256;

// The signed 8-bit "dynamic" map (Dettmers 2015, "8-Bit Approximations for Parallelism in Deep
// Learning"), ascending: 7 decades with 1, 2, … 64 steps each, both signs, 0 and 1.
const std::array<float, 256>& dynamic_map();

// Mean in f32, summed in the order in which PyTorch does on a CPU with one thread (eight lanes,
// four rows, cascaded), because the offset of a checkpoint carries that rounding.
float mean_like_torch(const float* x, int64_t count);

// Codes of x in blocks of kNestedBlock; absmax (f32, any alignment) receives one scale per block.
// As the library does, a value is first snapped to 65536 steps over [−1, 1], then to the nearest
// entry of the map, a tie going down; a block of zeros gets code 0.
void encode_nested(const float* x, int64_t count, uint8_t* codes, uint8_t* absmax_out);

// Encoding in two steps: whole blocks of weights to their codes and absmax, any ranges of them at
// the same time; then everything else, from the absmax of all blocks.
void encode_codebook4_blocks(const Format& format, const float* weights, int64_t count,
                             uint8_t* codes, float* absmax);
void finish_codebook4(const Format& format, std::span<const float> absmax, int64_t rows,
                      int64_t cols, std::span<uint8_t* const> out);

}  // namespace lathe::formats
