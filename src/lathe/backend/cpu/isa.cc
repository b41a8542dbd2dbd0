#include <cstdlib>
#include <string_view>

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include "lathe/backend/cpu/cpu_backend.h"
#include "lathe/base/suggest.h"

namespace lathe {

std::string name_of(Isa isa) {
  switch (isa) {
    case Isa::kAmx:
      return "amx";
    case Isa::kAvx512:
      return "avx512";
    case Isa::kAvx2:
      return "avx2";
    case Isa::kPortable:
      break;
  }
  return "portable";
}

#if defined(__x86_64__)
namespace {

// Not every compiler's __builtin_cpu_supports knows it.
bool has_f16c() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}

// Tiles with BF16 and int8, and the kernel's leave to use them, which this asks for: their state is
// 8 kB per thread. Once given, it holds for the process.
bool has_amx() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  constexpr unsigned kBf16 = 1u << 22, kTile = 1u << 24, kInt8 = 1u << 25;
  constexpr unsigned kAll = kBf16 | kTile | kInt8;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d & kAll) != kAll) return false;
#if defined(__linux__)
  constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM
  static const bool granted = ::syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
  return granted;
#else
  return false;
#endif
}

}  // namespace
#endif

std::vector<Isa> available_isas() {
  std::vector<Isa> isas;
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                    __builtin_cpu_supports("bmi2") && has_f16c();
  // What cmake/isa.cmake compiles the avx512 files for.
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") &&
                      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vnni") &&
                      __builtin_cpu_supports("avx512bf16") &&
                      __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512vbmi2");
  if (avx512 && has_amx()) isas.push_back(Isa::kAmx);
  if (avx512) isas.push_back(Isa::kAvx512);
  if (avx2) isas.push_back(Isa::kAvx2);
#endif
  isas.push_back(Isa::kPortable);
  return isas;
}

Result<Isa> chosen_isa() {
  const std::vector<Isa> isas = available_isas();
  const char* wanted = std::getenv("LATHE_ISA");
  if (!wanted || !*wanted) return isas.front();
  std::vector<std::string> names;
  for (const Isa isa : isas) {
    names.push_back(name_of(isa));
    if (names.back() == wanted) return isa;
  }
  for (const Isa isa : {Isa::kAmx, Isa::kAvx512, Isa::kAvx2}) {
    if (name_of(isa) == wanted) {
      return unsupported("LATHE_ISA={}: this CPU lacks it", wanted)
          .with_hint("unset LATHE_ISA to use " + names.front());
    }
  }
  return bad_input("LATHE_ISA={}: no such instruction set", wanted)
      .with_hint(suggest(wanted, names));
}

std::string name_of(Math math) { return math == Math::kFast ? "fast" : "exact"; }

Result<Math> chosen_math(Math otherwise) {
  const char* wanted = std::getenv("LATHE_MATH");
  if (!wanted || !*wanted) return otherwise;
  for (const Math math : {Math::kFast, Math::kExact}) {
    if (wanted == name_of(math)) return math;
  }
  return bad_input("LATHE_MATH={}: no such arithmetic", wanted).with_hint("known: fast, exact");
}

}  // namespace lathe
