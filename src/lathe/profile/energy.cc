#include "lathe/profile/energy.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "lathe/base/parse_number.h"

namespace lathe {
namespace {

namespace fs = std::filesystem;
constexpr auto kReadAgain = std::chrono::seconds(10);

// The first line of a file of the tree. Ordinary streams, since these files state no size.
Result<std::string> line_of(const std::string& path) {
  std::ifstream file(path);
  if (!file) {
    const int why = errno;
    Error error = failed("{}: {}", path, std::strerror(why));
    if (why == EACCES || why == EPERM) {
      error = std::move(error).with_hint(
          "Linux lets only root read it; an administrator may allow others with chmod a+r");
    }
    return error;
  }
  std::string line;
  if (!std::getline(file, line)) return failed("{}: cannot read", path);
  return line;
}

Result<int64_t> number_in(const std::string& path) {
  LATHE_TRY(const std::string line, line_of(path));
  const auto number = parse_number<int64_t>(line);
  if (!number || *number < 0) return failed("{}: '{}' is no count of energy", path, line);
  return *number;
}

// The zones of the tree: "intel-rapl:0", and "intel-rapl:0:2" within it. Sorted, so that a zone
// follows the one that it lies in.
std::vector<std::string> zone_folders(const std::string& tree) {
  std::vector<std::string> folders;
  std::error_code error;
  for (fs::directory_iterator it(tree, error), end; !error && it != end; it.increment(error)) {
    if (it->path().filename().string().starts_with("intel-rapl:")) {
      folders.push_back(it->path().string());
    }
  }
  std::sort(folders.begin(), folders.end());
  return folders;
}

}  // namespace

std::string powercap_tree() {
  const char* tree = std::getenv("LATHE_POWERCAP");
  return tree && *tree ? tree : "/sys/class/powercap";
}

EnergyMeter::EnergyMeter(const std::string& tree) {
  if (const Status opened = open(tree); !opened.ok()) {
    const Error& error = opened.error();
    unknown_ = error.hint.empty() ? error.message : error.message + " (" + error.hint + ")";
  }
}

Status EnergyMeter::open(const std::string& tree) {
  for (const std::string& folder : zone_folders(tree)) {
    LATHE_TRY(const std::string name, line_of(folder + "/name"));
    if (!name.starts_with("package") && name != "dram") continue;
    Zone zone;
    zone.file = folder + "/energy_uj";
    LATHE_TRY(zone.range, number_in(folder + "/max_energy_range_uj"));
    LATHE_TRY(zone.last, number_in(zone.file));
    names_ += (names_.empty() ? "" : ", ") + name;
    zones_.push_back(std::move(zone));
  }
  if (zones_.empty()) {
    return unsupported("{}: no energy counter of a processor (RAPL)", tree)
        .with_hint("virtual machines and containers rarely have one");
  }
  read_at_ = std::chrono::steady_clock::now();
  return {};
}

Status EnergyMeter::read_zones() {
  for (Zone& zone : zones_) {
    LATHE_TRY(const int64_t now, number_in(zone.file));
    if (now > zone.range) return failed("{}: {} exceeds its own range", zone.file, now);
    int64_t used = now - zone.last;
    if (used < 0) used += zone.range;  // it began anew
    zone.last = now;
    joules_ += 1e-6 * static_cast<double>(used);
  }
  read_at_ = std::chrono::steady_clock::now();
  return {};
}

void EnergyMeter::read() {
  if (!unknown_.empty()) return;
  if (const Status status = read_zones(); !status.ok()) unknown_ = status.error().message;
}

void EnergyMeter::restart() {
  read();
  joules_ = 0;
}

double EnergyMeter::joules() {
  read();
  return joules_;
}

void EnergyMeter::keep_up() {
  if (std::chrono::steady_clock::now() - read_at_ >= kReadAgain) read();
}

}  // namespace lathe
