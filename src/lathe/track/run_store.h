// Runs are files. One folder a run:
//   run.json       what was run, on what, and every number (the tidy rows of Measurement)
//   samples.jsonl  one line a sample, appended as it is made; a line cut short by a crash is
//   dropped measured.json  what the run's own process wrote down: model, environment, preflight,
//   probes model/         the compressed model, ready to ship
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lathe/base/measurement.h"
#include "lathe/base/sample.h"

namespace lathe {

using SamplesByTask = std::map<std::string, std::vector<Sample>>;
// The lines of samples.jsonl; a last one without its newline was cut short and is left out.
Result<SamplesByTask> parse_samples(std::string_view text, const std::string& where);

// Held while a process works on a run; the system takes it back however that process ends.
class RunLock {
 public:
  RunLock(RunLock&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
  RunLock& operator=(RunLock&&) = delete;
  ~RunLock();

 private:
  friend class RunFolder;
  explicit RunLock(int descriptor) : descriptor_(descriptor) {}
  int descriptor_;
};

class RunFolder {
 public:
  explicit RunFolder(std::string path) : path_(std::move(path)) {}
  const std::string& path() const { return path_; }
  std::string file(const std::string& name) const { return path_ + "/" + name; }

  // Makes the folder; refuses while another process holds it.
  Result<RunLock> lock() const;
  // Keeps the folder's contents if they were made for `hash`, else empties it (model/ included);
  // clears away what a killed process has left half-written. Of the tasks, it keeps those that were
  // made from the same content (name → hash), and forgets the others. Under the lock.
  Status begin(const std::string& hash, const std::map<std::string, std::string>& tasks) const;
  bool has(const std::string& name) const;
  // Whether measured.json is there and names nothing that failed or is to be done anew.
  bool complete() const;
  // A JSON object.
  Result<nlohmann::json> read(const std::string& name) const;
  Status write(const std::string& name, const nlohmann::json& json) const;

  // In file order.
  Result<SamplesByTask> samples() const;
  // Instead of those that are there. Not while a SampleLog is open.
  Status write_samples(const SamplesByTask& all) const;

 private:
  Status forget(const std::set<std::string>& tasks) const;
  std::string path_;
};

// Appends samples, each flushed to the system before the next is made.
class SampleLog {
 public:
  // Cuts off an unfinished last line first.
  static Result<SampleLog> open(const RunFolder& folder);
  SampleLog(SampleLog&& other) noexcept;
  SampleLog& operator=(SampleLog&&) = delete;
  ~SampleLog();
  Status append(const Sample& sample, const std::string& task);

 private:
  SampleLog(std::string path, int descriptor) : path_(std::move(path)), descriptor_(descriptor) {}
  std::string path_;
  int descriptor_;
};

// A run as read back from run.json. Its status: "done"; "partial" where some of its tasks or probes
// failed and the figures are those of the others; "failed" where there are no figures.
struct Run {
  std::string id, variant, baseline, status, error;
  std::string folder;  // where it lies; not part of the file
  nlohmann::json model, environment, experiment, recipe, tasks, layers, samples;
  // The tasks and probes that failed: [{"name": "task/gsm8k", "error": …}].
  nlohmann::json failures = nlohmann::json::array();
  std::vector<Measurement> results;
};

nlohmann::json to_json(const Run& run);
Result<Run> run_from_json(const nlohmann::json& j);
// Every run below `path` (a run folder, or any folder that holds some), in the experiment's order.
Result<std::vector<Run>> load_runs(const std::string& path);

}  // namespace lathe
