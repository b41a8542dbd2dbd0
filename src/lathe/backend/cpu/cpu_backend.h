// The CPU backend: Ops over kernels compiled for several instruction sets, the best one chosen at
// run time by CPUID; LATHE_ISA=portable|avx2|avx512|amx forces one (an error if the CPU lacks it).
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "lathe/backend/ops.h"

namespace lathe {

enum class Isa : uint8_t { kPortable, kAvx2, kAvx512, kAmx };

std::string name_of(Isa isa);
// What this CPU can run, best first; the portable one is always there.
std::vector<Isa> available_isas();
// LATHE_ISA if set, else the best available.
Result<Isa> chosen_isa();

// How matrices other than f32 are multiplied.
enum class Math : uint8_t {
  kFast,   // x rounded to 15 bits or to BF16, as suits the instruction set (docs/kernels.md)
  kExact,  // in f32 throughout: decode and multiply
};
std::string name_of(Math math);  // "fast", "exact"
// LATHE_MATH=fast|exact if set, else `otherwise`.
Result<Math> chosen_math(Math otherwise = Math::kFast);

// Safe to call from one thread at a time.
std::unique_ptr<Ops> make_cpu_ops(Isa isa, std::shared_ptr<ThreadPool> threads,
                                  Math math = Math::kFast);
// On a pool that belongs to the caller and outlives the operations.
std::unique_ptr<Ops> make_cpu_ops(Isa isa, ThreadPool& threads, Math math);

// What pack() would do with a matrix, for `lathe doctor --explain`: each kernel that was
// considered, best first, and why it declined. The last one is taken and has no reason.
struct KernelChoice {
  std::string kernel, reason;
};
std::vector<KernelChoice> explain_cpu_kernel(Isa isa, const WeightMatrix& weights);

}  // namespace lathe
