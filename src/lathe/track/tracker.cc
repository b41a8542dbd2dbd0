#include "lathe/track/tracker.h"

#include "lathe/base/log.h"
#include "lathe/base/suggest.h"
#include "lathe/track/kinds.h"

namespace lathe {

const std::vector<TrackerKind>& tracker_kinds() {
  static const std::vector<TrackerKind> list = {mlflow_kind(), mlflow_files_kind(),
                                                tensorboard_kind()};
  return list;
}

Result<std::unique_ptr<Tracker>> open_tracker(const std::string& kind, const std::string& target) {
  std::vector<std::string> known;
  for (const TrackerKind& k : tracker_kinds()) {
    known.push_back(k.name);
    if (k.name != kind) continue;
    LATHE_TRY_IN(auto tracker, k.open(target), kind);
    return tracker;
  }
  return bad_input("unknown tracker '{}'", kind).with_hint(suggest(kind, known));
}

Result<Tracking> Tracking::open(const std::vector<TrackTarget>& targets) {
  Tracking tracking;
  for (const TrackTarget& target : targets) {
    Entry entry;
    entry.target = target;
    LATHE_TRY(entry.tracker, open_tracker(target.kind, target.target));
    tracking.entries_.push_back(std::move(entry));
  }
  return tracking;
}

Status Tracking::deliver(Entry& entry, const SweepRecord& sweep) {
  if (!entry.begun) {
    LATHE_OK(entry.tracker->begin(sweep));
    entry.begun = true;
  }
  while (!entry.pending.empty()) {
    LATHE_OK_IN(entry.tracker->log(sweep, entry.pending.front()), entry.pending.front().name);
    entry.pending.erase(entry.pending.begin());
  }
  return {};
}

void Tracking::attempt(Entry& entry, const SweepRecord& sweep) {
  const Status status = deliver(entry, sweep);
  entry.resting = !status.ok();
  entry.problem = status.ok() ? "" : status.error().message;
  if (!status.ok() && !status.error().hint.empty()) {
    entry.problem += " (" + status.error().hint + ")";
  }
}

void Tracking::begin(const SweepRecord& sweep) {
  for (Entry& entry : entries_) {
    attempt(entry, sweep);
    if (entry.resting) {
      spdlog::warn("{}: {}; the sweep goes on, and its runs are offered again at the end",
                   entry.target.kind, entry.problem);
    }
  }
}

void Tracking::log(const SweepRecord& sweep, const RunRecord& run) {
  for (Entry& entry : entries_) {
    entry.pending.push_back(run);
    if (entry.resting) continue;
    attempt(entry, sweep);
    if (entry.resting) {
      spdlog::warn("{}: {}; the sweep goes on, and its runs are offered again at the end",
                   entry.target.kind, entry.problem);
    }
  }
}

std::vector<std::string> Tracking::end(const SweepRecord& sweep, bool failed) {
  std::vector<std::string> left;
  for (Entry& entry : entries_) {
    attempt(entry, sweep);
    if (!entry.resting) {
      const Status status = entry.tracker->end(sweep, failed);
      if (status.ok()) continue;
      entry.problem = status.error().message;
    }
    std::string names;
    for (const RunRecord& run : entry.pending) names += (names.empty() ? "" : ", ") + run.name;
    left.push_back(names.empty() ? fmt::format("{} {}: {}", entry.target.kind, entry.target.target,
                                               entry.problem)
                                 : fmt::format("{} {} has not taken {}: {}", entry.target.kind,
                                               entry.target.target, names, entry.problem));
  }
  return left;
}

}  // namespace lathe
