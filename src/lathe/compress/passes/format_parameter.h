// Parameters that several passes have.
#pragma once

#include "lathe/compress/pass.h"

namespace lathe {

// Required; its text is a format spec or "keep". `help` says what the pass can write.
PassParameter format_parameter(const char* help);

// Of parameters that are true or false.
Result<nlohmann::json> check_flag(const nlohmann::json& value);

}  // namespace lathe
