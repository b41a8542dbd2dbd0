// Loops that do nothing but the arithmetic of one kind of unit, to measure a machine's ceilings.
// Plain C in spirit, as kernels.h.
#pragma once

#include <stdint.h>

namespace lathe::cpu {

// `rounds` times independent chains of one instruction; *ops receives the operations of one round
// (a multiply-add counts two). Returns a sum, so that the work is not dropped.
using PeakLoop = int64_t (*)(int64_t rounds, int64_t* ops) noexcept;

#if defined(__x86_64__)
int64_t burn_bf16_avx512(int64_t rounds, int64_t* ops) noexcept;  // vdpbf16ps
int64_t burn_int8_avx512(int64_t rounds, int64_t* ops) noexcept;  // vpdpbusd
// The caller has asked the kernel for the tile registers.
int64_t burn_bf16_amx(int64_t rounds, int64_t* ops) noexcept;
int64_t burn_int8_amx(int64_t rounds, int64_t* ops) noexcept;
#endif

}  // namespace lathe::cpu
