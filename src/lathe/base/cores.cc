#include "lathe/base/cores.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <fstream>
#include <map>
#include <optional>
#include <set>

#if defined(__linux__)
#include <pthread.h>
#include <sched.h>
#endif

#include <fmt/format.h>

namespace lathe {
namespace {

constexpr int kMostNodes = 1024;

// One physical core: its CPUs among the allowed ones, in order.
struct Core {
  std::vector<int> cpus;
  int node = 0;
  int64_t capacity = 0;  // relative speed; 0: not told
};

std::optional<std::string> read_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  if (std::getline(file, line)) return line;
  return std::nullopt;
}

std::vector<int> read_cpus(const std::string& path) {
  return parse_cpu_list(read_line(path).value_or(""));
}

int64_t read_number(const std::string& path, int64_t otherwise) {
  const std::string text = read_line(path).value_or("");
  int64_t value = otherwise;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

std::map<int, int> nodes_of_cpus(const std::string& root) {
  std::map<int, int> nodes;
  for (const int node : read_cpus(root + "/sys/devices/system/node/online")) {
    if (node >= kMostNodes) continue;
    for (const int cpu :
         read_cpus(fmt::format("{}/sys/devices/system/node/node{}/cpulist", root, node))) {
      nodes[cpu] = node;
    }
  }
  return nodes;
}

std::vector<Core> cores_of(const std::vector<int>& allowed, const std::string& root) {
  const std::map<int, int> nodes = nodes_of_cpus(root);
  // Intel's hybrid processors name their fast cores; ARM's and newer kernels give a capacity.
  const std::vector<int> fast = read_cpus(root + "/sys/devices/cpu_core/cpus");
  std::vector<Core> cores;
  std::set<int> taken;
  for (const int cpu : allowed) {
    if (taken.count(cpu) != 0) continue;
    const std::string folder = fmt::format("{}/sys/devices/system/cpu/cpu{}", root, cpu);
    Core core;
    std::vector<int> siblings = read_cpus(folder + "/topology/thread_siblings_list");
    if (std::find(siblings.begin(), siblings.end(), cpu) == siblings.end()) siblings = {cpu};
    for (const int sibling : siblings) {
      if (std::find(allowed.begin(), allowed.end(), sibling) == allowed.end()) continue;
      if (taken.insert(sibling).second) core.cpus.push_back(sibling);
    }
    if (const auto it = nodes.find(cpu); it != nodes.end()) core.node = it->second;
    core.capacity = read_number(folder + "/cpu_capacity", 0);
    if (core.capacity == 0 && !fast.empty()) {
      core.capacity = std::find(fast.begin(), fast.end(), cpu) != fast.end() ? 2 : 1;
    }
    cores.push_back(std::move(core));
  }
  return cores;
}

// Version 2: "max 100000" or "150000 100000"; version 1: two files, −1 for no limit. Rounded up.
int quota_of(const std::string& root) {
  const std::string folder = root + "/sys/fs/cgroup";
  int64_t quota = -1, period = 0;
  if (std::ifstream file(folder + "/cpu.max"); file) {
    if (!(file >> quota >> period)) return INT32_MAX;
  } else {
    quota = read_number(folder + "/cpu/cpu.cfs_quota_us", -1);
    period = read_number(folder + "/cpu/cpu.cfs_period_us", 0);
  }
  if (quota <= 0 || period <= 0) return INT32_MAX;
  return static_cast<int>(std::clamp<int64_t>((quota + period - 1) / period, 1, INT32_MAX));
}

}  // namespace

std::vector<int> parse_cpu_list(const std::string& text) {
  constexpr int kMost = 1 << 16;
  std::vector<int> cpus;
  const char* at = text.data();
  const char* const end = at + text.size();
  while (at < end) {
    int first = 0;
    auto [after, error] = std::from_chars(at, end, first);
    int last = first;
    if (error == std::errc{} && after < end && *after == '-') {
      const auto range = std::from_chars(after + 1, end, last);
      after = range.ptr;
      error = range.ec;
    }
    if (error == std::errc{} && first >= 0 && last < kMost) {
      for (int cpu = first; cpu <= last; ++cpu) cpus.push_back(cpu);
    }
    at = std::find(after, end, ',');
    if (at < end) ++at;
  }
  return cpus;
}

CoreChoice choose_cores(const std::vector<int>& allowed, int wanted, int current,
                        const std::string& root) {
  std::vector<Core> cores = cores_of(allowed, root);
  if (cores.empty()) return {};
  const size_t all_cores = cores.size();
  int64_t best = 0;
  for (const Core& core : cores) best = std::max(best, core.capacity);
  // Favoured cores of one kind differ by a few per cent; the slow kind by a third and more.
  std::vector<Core> fast;
  for (const Core& core : cores) {
    if (4 * core.capacity >= 3 * best) fast.push_back(core);
  }
  if (wanted <= static_cast<int>(fast.size())) cores = std::move(fast);

  CoreChoice choice;
  choice.threads = std::min(static_cast<int>(cores.size()), quota_of(root));
  const auto needed = static_cast<size_t>(wanted > 0 ? wanted : choice.threads);

  // Whole nodes in order, that of `current` first, until they hold as many as are needed.
  int first_node = cores.front().node;
  for (const Core& core : cores) {
    if (std::find(core.cpus.begin(), core.cpus.end(), current) != core.cpus.end()) {
      first_node = core.node;
    }
  }
  std::map<std::pair<bool, int>, std::vector<const Core*>> by_node;
  for (const Core& core : cores) by_node[{core.node != first_node, core.node}].push_back(&core);
  size_t held = 0;
  std::vector<int> cpus;
  for (const auto& [key, members] : by_node) {
    if (held >= needed) break;
    for (const Core* core : members) cpus.insert(cpus.end(), core->cpus.begin(), core->cpus.end());
    held += members.size();
  }
  if (held < all_cores && held >= needed) {
    std::sort(cpus.begin(), cpus.end());
    choice.bind = std::move(cpus);
  }
  return choice;
}

CoreChoice chosen_cores(int wanted) {
  std::vector<int> allowed;
  int current = 0;
#if defined(__linux__)
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) == 0) {
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
      if (CPU_ISSET(cpu, &set)) allowed.push_back(cpu);
    }
  }
  current = std::max(0, sched_getcpu());
#endif
  if (allowed.empty()) {
    for (unsigned i = 0; i < std::max(1u, std::thread::hardware_concurrency()); ++i) {
      allowed.push_back(static_cast<int>(i));
    }
  }
  return choose_cores(allowed, wanted, current);
}

void bind_thread(std::thread& thread, const std::vector<int>& cpus) {
#if defined(__linux__)
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const int cpu : cpus) {
    if (cpu < CPU_SETSIZE) CPU_SET(cpu, &set);
  }
  pthread_setaffinity_np(thread.native_handle(), sizeof(set), &set);
#else
  (void)thread;
  (void)cpus;
#endif
}

}  // namespace lathe
