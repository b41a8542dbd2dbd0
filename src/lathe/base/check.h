// LATHE_CHECK: for our own bugs only, never reachable from input. Prints where and aborts.
#pragma once

namespace lathe {
[[noreturn]] void check_failed(const char* condition, const char* file, int line);
}  // namespace lathe

#define LATHE_CHECK(condition) \
  ((condition) ? (void)0 : ::lathe::check_failed(#condition, __FILE__, __LINE__))
