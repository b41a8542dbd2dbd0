#include "lathe/base/log.h"

#include <spdlog/sinks/stdout_color_sinks.h>

namespace lathe {

void set_up_log(LogLevel level) {
  auto logger = std::make_shared<spdlog::logger>(
      "lathe", std::make_shared<spdlog::sinks::stderr_color_sink_mt>());
  logger->set_pattern("%^%l%$: %v");
  spdlog::set_default_logger(logger);
  spdlog::set_level(level == LogLevel::kQuiet    ? spdlog::level::err
                    : level == LogLevel::kNormal ? spdlog::level::info
                                                 : spdlog::level::debug);
}

}  // namespace lathe
