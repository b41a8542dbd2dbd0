// Which cores a pool of threads should use, from what the kernel tells about the machine.
#pragma once

#include <string>
#include <thread>
#include <vector>

namespace lathe {

struct CoreChoice {
  int threads = 1;        // how many to start when the user does not say
  std::vector<int> bind;  // CPUs to keep the workers on; empty: wherever the system puts them
};

// Chooses among `allowed` (CPU numbers): one thread per physical core, since two on one core share
// its arithmetic and its port to memory; only the fast ones of a hybrid processor; and no more than
// a cgroup's CPU quota pays for. `wanted` threads (0: all of these) are kept on as few NUMA nodes
// as can hold them, beginning with the one of `current`, so that weights and their readers lie
// together. What the kernel does not tell is taken as uniform. `root` stands before /sys, for
// tests.
CoreChoice choose_cores(const std::vector<int>& allowed, int wanted, int current,
                        const std::string& root = "");

// The same for this process: its affinity mask, the CPU it runs on.
CoreChoice chosen_cores(int wanted = 0);

// "0-3,8,10-11", as the kernel writes sets of CPUs; what does not fit that is skipped.
std::vector<int> parse_cpu_list(const std::string& text);

// Restricts a thread to these CPUs; a refusal of the system is no error.
void bind_thread(std::thread& thread, const std::vector<int>& cpus);

}  // namespace lathe
