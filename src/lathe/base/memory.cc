#include "lathe/base/memory.h"

#include <sys/resource.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <optional>
#include <sstream>
#include <string>

#include "lathe/base/log.h"
#include "lathe/base/parse_number.h"

namespace lathe {
namespace {

constexpr int64_t kNoLimit = std::numeric_limits<int64_t>::max();

std::optional<int64_t> number_in(const std::string& path) {
  std::ifstream file(path);
  int64_t value = 0;
  if (file >> value) return value;
  return std::nullopt;
}

// The number behind `key` in a file of lines that begin with a key; 0 if it has none.
int64_t number_at(const std::string& path, const std::string& key) {
  std::ifstream file(path);
  std::string line;
  while (std::getline(file, line)) {
    std::istringstream words(line);
    std::string word;
    int64_t value = 0;
    if (words >> word && word == key && words >> value) return value;
  }
  return 0;
}

// What one control group leaves: its limit less what cannot be given back (cached pages of files
// count as used there).
int64_t left_in_group(const std::string& folder, bool version_2) {
  const auto limit = number_in(folder + (version_2 ? "/memory.max" : "/memory.limit_in_bytes"));
  const auto used = number_in(folder + (version_2 ? "/memory.current" : "/memory.usage_in_bytes"));
  if (!limit || !used) return kNoLimit;
  const std::string cached = version_2 ? "inactive_file" : "total_inactive_file";
  return std::max<int64_t>(*limit - *used + number_at(folder + "/memory.stat", cached), 0);
}

// Every group from the process's own up to the root may hold a limit. Inside of a container the
// path may not exist; the root stands for it there.
int64_t left_in_groups() {
  int64_t left = kNoLimit;
  std::ifstream file("/proc/self/cgroup");
  std::string line;
  while (std::getline(file, line)) {
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const bool version_2 = controllers.empty();
    if (!version_2 && controllers != "memory") continue;
    const std::string root = version_2 ? "/sys/fs/cgroup" : "/sys/fs/cgroup/memory";
    std::string path = line.substr(second + 1);
    while (true) {
      left = std::min(left, left_in_group(root + (path == "/" ? "" : path), version_2));
      const size_t slash = path.rfind('/');
      if (path.empty() || slash == std::string::npos) break;
      path.resize(slash);
    }
  }
  return left;
}

int64_t left_in_address_space() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return kNoLimit;
  const int64_t used = number_at("/proc/self/status", "VmSize:") * 1024;
  return std::max<int64_t>(static_cast<int64_t>(limit.rlim_cur) - used, 0);
}

}  // namespace

int64_t available_memory_bytes() {
  int64_t available = kNoLimit;
  if (const int64_t kilobytes = number_at("/proc/meminfo", "MemAvailable:")) {
    available = kilobytes * 1024;
  }
  available = std::min({available, left_in_groups(), left_in_address_space()});
  if (const char* text = std::getenv("LATHE_MEMORY_LIMIT_BYTES")) {
    const auto limit = parse_number<int64_t>(text);
    if (limit && *limit >= 0) return std::min(available, *limit);
    spdlog::warn("LATHE_MEMORY_LIMIT_BYTES is '{}', which is no number of bytes", text);
  }
  return available;
}

int64_t peak_rss_bytes() { return number_at("/proc/self/status", "VmHWM:") * 1024; }

void reset_peak_rss() { std::ofstream("/proc/self/clear_refs") << "5"; }

}  // namespace lathe
