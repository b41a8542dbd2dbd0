#include "lathe/base/check.h"

#include <cstdio>
#include <cstdlib>

namespace lathe {

void check_failed(const char* condition, const char* file, int line) {
  std::fprintf(stderr, "lathe: internal error at %s:%d: %s\n", file, line, condition);
  std::abort();
}

}  // namespace lathe
