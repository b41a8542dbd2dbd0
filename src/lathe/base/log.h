// Messages for people, on stderr. Results go to stdout and never through here.
#pragma once

#include <spdlog/spdlog.h>

namespace lathe {

enum class LogLevel { kQuiet, kNormal, kVerbose };

// Sends all messages to stderr without time stamps; kQuiet keeps errors only.
void set_up_log(LogLevel level);

}  // namespace lathe
