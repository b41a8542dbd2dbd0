// One function per pass; registry.cc puts them in order.
#pragma once

#include "lathe/compress/pass.h"

namespace lathe {

Pass rtn_pass();
Pass magnitude_pass();

}  // namespace lathe
