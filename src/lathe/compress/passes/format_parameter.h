// The parameter `format` of the quantizing passes.
#pragma once

#include "lathe/compress/pass.h"

namespace lathe {

// Required; its text is a format spec or "keep". `help` says what the pass can write.
PassParameter format_parameter(const char* help);

}  // namespace lathe
