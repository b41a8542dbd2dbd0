#include "lathe/profile/environment.h"

#include <sys/utsname.h>

#include <fstream>

#include "lathe/base/hash.h"
#include "lathe/base/version.h"

namespace lathe {

std::string cpu_name() {
  std::ifstream file("/proc/cpuinfo");
  std::string line;
  while (std::getline(file, line)) {
    if (line.rfind("model name", 0) != 0) continue;
    const size_t colon = line.find(": ");
    if (colon != std::string::npos) return line.substr(colon + 2);
  }
  return "unknown";
}

nlohmann::json environment_of(const Engine& engine, uint64_t seed) {
  utsname system{};
  uname(&system);
  int64_t kilobytes = 0;
  std::ifstream info("/proc/meminfo");
  std::string key;
  info >> key >> kilobytes;
  return {{"cpu", cpu_name()},
          {"isa", engine.isa},
          {"math", name_of(engine.math)},
          {"threads", engine.ops->threads().size()},
          {"device", "cpu"},
          {"seed", seed},
          {"cores", ThreadPool::available_cores()},
          {"memory_bytes", kilobytes * 1024},
          {"os", fmt::format("{} {}", system.sysname, system.release)},
          {"compiler", __VERSION__},
          {"lathe", kVersion},
          {"context", engine.model->context},
          {"kv", name_of(engine.model->kv)}};
}

Result<nlohmann::json> describe_model(const Checkpoint& checkpoint, int64_t parameters) {
  Sha256 hash;
  hash.update(to_json(checkpoint.config()).dump());
  for (const std::string& file : checkpoint.weight_files()) {
    LATHE_TRY(const std::string of_file, sha256_of_file(file));
    hash.update(of_file);
  }
  return nlohmann::json{{"path", checkpoint.path()},
                        {"family", checkpoint.config().family},
                        {"parameters", parameters},
                        {"hash", hash.hex()}};
}

}  // namespace lathe
