// Decoding and encoding of single ggml blocks. decode_* and encode_* are bit-equal to the Python
// package `gguf` 0.19 (quants.py): f32 arithmetic in its order. fit_* search for the scales of
// least squared error.
#pragma once

#include <cstdint>
#include <string_view>

#include "lathe/formats/gguf_blocks.h"

namespace lathe::gguf {

// One block at any alignment to 32 or 256 floats.
using DecodeBlock = void (*)(const uint8_t* block, float* out);
// 32 or 256 finite floats to one block.
using EncodeBlock = void (*)(const float* x, uint8_t* block);
// The same, with the least Σ importance · (ŵ − w)² that a search finds; `importance` has a number
// ≥ 0 for each weight, and nullptr means all alike. Weights that the type cannot hold give an
// infinite scale.
using FitBlock = void (*)(const float* x, const float* importance, uint8_t* block);

void decode_q4_0(const uint8_t* block, float* out);
void decode_q4_1(const uint8_t* block, float* out);
void decode_q5_0(const uint8_t* block, float* out);
void decode_q5_1(const uint8_t* block, float* out);
void decode_q8_0(const uint8_t* block, float* out);
void decode_q2_k(const uint8_t* block, float* out);
void decode_q3_k(const uint8_t* block, float* out);
void decode_q4_k(const uint8_t* block, float* out);
void decode_q5_k(const uint8_t* block, float* out);
void decode_q6_k(const uint8_t* block, float* out);
void decode_iq4_nl(const uint8_t* block, float* out);

void encode_q4_0(const float* x, uint8_t* block);
void encode_q4_1(const float* x, uint8_t* block);
void encode_q5_0(const float* x, uint8_t* block);
void encode_q5_1(const float* x, uint8_t* block);
void encode_q8_0(const float* x, uint8_t* block);

void fit_q4_0(const float* x, const float* importance, uint8_t* block);
void fit_q4_1(const float* x, const float* importance, uint8_t* block);
void fit_q5_0(const float* x, const float* importance, uint8_t* block);
void fit_q5_1(const float* x, const float* importance, uint8_t* block);
void fit_q8_0(const float* x, const float* importance, uint8_t* block);
void fit_q2_k(const float* x, const float* importance, uint8_t* block);
void fit_q3_k(const float* x, const float* importance, uint8_t* block);
void fit_q4_k(const float* x, const float* importance, uint8_t* block);
void fit_q5_k(const float* x, const float* importance, uint8_t* block);
void fit_q6_k(const float* x, const float* importance, uint8_t* block);
void fit_iq4_nl(const float* x, const float* importance, uint8_t* block);

}  // namespace lathe::gguf
