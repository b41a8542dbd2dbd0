// Trackers: tools that keep runs beside others. Tracking never stops a sweep: what a tracker cannot
// take is kept, tried once more at the end, and named if it is still refused.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "lathe/track/record.h"

namespace lathe {

// Every call may come again for the same sweep or run, in this process or a later one, and must not
// make a second copy.
class Tracker {
 public:
  virtual ~Tracker() = default;
  virtual Status begin(const SweepRecord& sweep) = 0;
  virtual Status log(const SweepRecord& sweep, const RunRecord& run) = 0;  // after begin()
  virtual Status end(const SweepRecord& sweep, bool failed) = 0;
};

struct TrackerKind {
  std::string name;    // the key under `track:`
  std::string target;  // what its value is: "URL", "FOLDER"
  std::string description;
  // Checks the target, asks nothing of it.
  Result<std::unique_ptr<Tracker>> (*open)(const std::string& target);
};

const std::vector<TrackerKind>& tracker_kinds();
Result<std::unique_ptr<Tracker>> open_tracker(const std::string& kind, const std::string& target);

// `track:` of an experiment, or the options of `report`.
struct TrackTarget {
  std::string kind, target;
};

class Tracking {
 public:
  static Result<Tracking> open(const std::vector<TrackTarget>& targets);

  void begin(const SweepRecord& sweep);
  void log(const SweepRecord& sweep, const RunRecord& run);
  // Tries again what failed. Gives a sentence for each tracker that did not take everything.
  std::vector<std::string> end(const SweepRecord& sweep, bool failed);
  bool empty() const { return entries_.empty(); }

 private:
  struct Entry {
    TrackTarget target;
    std::unique_ptr<Tracker> tracker;
    std::vector<RunRecord> pending;
    bool begun = false, resting = false;  // resting: it failed, and is not asked until the end
    std::string problem;
  };
  static Status deliver(Entry& entry, const SweepRecord& sweep);
  static void attempt(Entry& entry, const SweepRecord& sweep);
  std::vector<Entry> entries_;
};

}  // namespace lathe
