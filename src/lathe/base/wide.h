// LATHE_WIDE: copies of a function for wider vectors, chosen when the program starts. For plain
// loops that the compiler vectorises; sums need lanes of their own in the source. Contraction is
// off (CMakeLists.txt), so that all copies give the same bits.
#pragma once

// The levels of the x86-64 ABI, not processors: "arch=skylake-avx512" would be chosen on Skylake
// alone. The resolver would run before a sanitizer is ready.
#if defined(__x86_64__) && defined(__GNUC__) && __GNUC__ >= 12 && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define LATHE_WIDE __attribute__((target_clones("default", "arch=x86-64-v3", "arch=x86-64-v4")))
#else
#define LATHE_WIDE
#endif
