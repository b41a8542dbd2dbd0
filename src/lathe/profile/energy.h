// Energy that the processor uses, from the counters of Linux's power capping framework (RAPL; AMD's
// appear in the same tree). Counted are the zones "package-N" and, within them, "dram", which a
// package's counter leaves out; "core" and "uncore" are parts of a package, "psys" and the zones
// of intel-rapl-mmio count the same energy again. The counters are the machine's: what other
// programs use meanwhile is in them.
// Source: Documentation/power/powercap/powercap.rst of Linux.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "lathe/base/result.h"

namespace lathe {

class EnergyMeter {
 public:
  // `tree`: a folder like /sys/class/powercap.
  explicit EnergyMeter(const std::string& tree);

  // Why the energy is not known; empty while all is well. What failed once is not tried again, and
  // the calls below then do nothing.
  const std::string& unknown() const { return unknown_; }
  // "package-0, dram"
  const std::string& zones() const { return names_; }

  // What was used up to now goes to no one.
  void restart();
  // Joules since the last restart(), over all zones.
  double joules();
  // To be called now and then between the two: a counter begins anew at max_energy_range_uj, some
  // within minutes, and of two such starts one would be missed.
  void keep_up();

 private:
  struct Zone {
    std::string file;   // energy_uj
    int64_t range = 0;  // max_energy_range_uj
    int64_t last = 0;   // microjoules
  };
  Status open(const std::string& tree);
  Status read_zones();
  void read();

  std::vector<Zone> zones_;
  std::string names_, unknown_;
  double joules_ = 0;
  std::chrono::steady_clock::time_point read_at_;
};

// /sys/class/powercap, or what LATHE_POWERCAP names.
std::string powercap_tree();

}  // namespace lathe
