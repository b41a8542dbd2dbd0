#include "lathe/lab/job_watch.h"

#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>

namespace lathe {
namespace {

// The timeline keeps its length: when it is full, neighbours are joined (the larger stays, so that
// no peak is lost) and samples are taken half as often.
constexpr size_t kMaxPoints = 600;
constexpr int64_t kProgressMs = 500;

}  // namespace

int64_t resident_bytes() {
  std::ifstream file("/proc/self/statm");
  int64_t pages = 0, resident = 0;
  if (!(file >> pages >> resident)) return 0;
  return resident * sysconf(_SC_PAGESIZE);
}

JobWatch::JobWatch(const RunFolder& folder)
    : folder_(folder), start_(std::chrono::steady_clock::now()) {
  phases_.emplace_back(0, name_);
  write_progress();
  thread_ = std::thread([this] { watch(); });
}

JobWatch::~JobWatch() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  wake_.notify_all();
  thread_.join();
  sample();
  // Neither file is worth a run: who looks on sees less.
  (void)folder_.write("memory.json", memory());
  std::error_code error;
  std::filesystem::remove(folder_.file("progress.json"), error);
}

int64_t JobWatch::now_ms() const {
  using std::chrono::duration_cast, std::chrono::milliseconds, std::chrono::steady_clock;
  return duration_cast<milliseconds>(steady_clock::now() - start_).count();
}

void JobWatch::phase(const std::string& name, int64_t total, bool quiet) {
  const std::lock_guard lock(mutex_);
  name_ = name;
  total_ = total;
  done_ = 0;
  quiet_ = quiet;
  phases_.emplace_back(now_ms(), name);
  write_progress();
}

void JobWatch::sample() {
  points_.push_back({now_ms(), resident_bytes()});
  if (points_.size() < kMaxPoints) return;
  std::vector<Point> half;
  for (size_t i = 0; i + 1 < points_.size(); i += 2) {
    half.push_back(points_[i].bytes >= points_[i + 1].bytes ? points_[i] : points_[i + 1]);
  }
  points_ = std::move(half);
  interval_ms_ *= 2;
}

void JobWatch::watch() {
  int64_t written_ms = 0;
  std::unique_lock lock(mutex_);
  while (!wake_.wait_for(lock, std::chrono::milliseconds(interval_ms_), [&] { return ending_; })) {
    sample();
    if (!quiet_ && now_ms() - written_ms >= kProgressMs) {
      write_progress();
      written_ms = now_ms();
    }
  }
}

void JobWatch::write_progress() {
  (void)folder_.write("progress.json", {{"phase", name_},
                                        {"done", done_.load()},
                                        {"total", total_},
                                        {"elapsed_ms", now_ms()},
                                        {"rss_bytes", resident_bytes()},
                                        {"pid", getpid()}});
}

nlohmann::json JobWatch::memory() const {
  nlohmann::json points = nlohmann::json::array(), phases = nlohmann::json::array();
  for (const Point& p : points_) points.push_back({p.ms, p.bytes});
  for (const auto& [ms, name] : phases_) phases.push_back({{"ms", ms}, {"name", name}});
  return {{"points", points}, {"phases", phases}};
}

}  // namespace lathe
