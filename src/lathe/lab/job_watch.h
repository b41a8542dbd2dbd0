// What a run is doing, for those who look on: progress.json (phase and counts, now and then) and
// memory.json (resident memory over time, with the phases), in the run's folder.
#pragma once

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "lathe/track/run_store.h"

namespace lathe {

class JobWatch {
 public:
  explicit JobWatch(const RunFolder& folder);
  ~JobWatch();  // writes memory.json, removes progress.json
  JobWatch(const JobWatch&) = delete;
  JobWatch& operator=(const JobWatch&) = delete;

  // Begins a phase. A `quiet` one is measured: nothing is written while it lasts.
  void phase(const std::string& name, int64_t total, bool quiet);
  void done(int64_t count) { done_ = count; }

 private:
  struct Point {
    int64_t ms, bytes;
  };
  void watch();
  void sample();
  void write_progress();
  nlohmann::json memory() const;
  int64_t now_ms() const;

  const RunFolder folder_;
  const std::chrono::steady_clock::time_point start_;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool ending_ = false, quiet_ = false;
  std::string name_ = "loading";
  int64_t total_ = 0, interval_ms_ = 50;
  std::atomic<int64_t> done_ = 0;
  std::vector<Point> points_;
  std::vector<std::pair<int64_t, std::string>> phases_;
  std::thread thread_;
};

int64_t resident_bytes();  // of this process, now; 0 where the system does not tell

}  // namespace lathe
