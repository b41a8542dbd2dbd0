#include "lathe/track/run_store.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "lathe/base/log.h"
#include "lathe/base/mapped_file.h"
#include "lathe/base/version.h"
#include "lathe/io/atomic_file.h"

namespace lathe {
namespace {

namespace fs = std::filesystem;
constexpr const char* kSamples = "samples.jsonl";
constexpr const char* kHash = "hash";
constexpr const char* kTaskHashes = "tasks.json";

}  // namespace

bool RunFolder::has(const std::string& name) const {
  std::error_code error;
  return fs::exists(file(name), error);
}

Result<nlohmann::json> RunFolder::read(const std::string& name) const {
  LATHE_TRY(const std::string text, read_text(file(name)));
  nlohmann::json json = nlohmann::json::parse(text, nullptr, false);
  if (!json.is_object()) {
    return bad_input("{}: not a JSON object", file(name))
        .with_hint("delete the run's folder to have it run again");
  }
  return json;
}

Status RunFolder::write(const std::string& name, const nlohmann::json& json) const {
  using Handler = nlohmann::json::error_handler_t;
  return write_atomically(file(name), json.dump(1, ' ', false, Handler::replace) + "\n");
}

Result<RunLock> RunFolder::lock() const {
  std::error_code error;
  fs::create_directories(path_, error);
  if (error) return failed("{}: {}", path_, error.message());
  const int descriptor = ::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return failed("{}: cannot open: {}", path_, std::strerror(errno));
  RunLock lock(descriptor);
  // A file system without locks is no reason to refuse.
  if (::flock(descriptor, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
    return failed("{}: another process is working on this run", path_)
        .with_hint("wait for it to end, or give another folder");
  }
  return lock;
}

RunLock::~RunLock() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

bool RunFolder::complete() const {
  if (!has("measured.json")) return false;
  const auto measured = read("measured.json");
  // One that cannot be read is not repaired by running on: whoever finishes the run tells of it.
  if (!measured.ok()) return true;
  const auto failures = measured->find("failures");
  return failures == measured->end() || failures->empty();
}

Status RunFolder::begin(const std::string& hash,
                        const std::map<std::string, std::string>& tasks) const {
  std::error_code error;
  // What a killed process has left under temporary names.
  std::vector<fs::path> remains;
  fs::directory_iterator it(path_, error);
  for (; !error && it != fs::directory_iterator(); it.increment(error)) {
    if (it->path().filename().string().find(".tmp-") != std::string::npos) {
      remains.push_back(it->path());
    }
  }
  for (const fs::path& path : remains) fs::remove_all(path, error);
  if (has(kHash)) {
    const auto found = read_text(file(kHash));
    if (found.ok() && *found == hash) {
      std::set<std::string> stale;
      const auto known = has(kTaskHashes) ? read(kTaskHashes) : nlohmann::json::object();
      for (const auto& [name, of_task] : tasks) {
        const auto it = known.ok() ? known->find(name) : nlohmann::json::const_iterator();
        if (!known.ok() || it == known->end() || *it != of_task) stale.insert(name);
      }
      if (stale.empty()) return {};
      // The new hashes last: killed on the way, the next start forgets the same tasks again.
      LATHE_OK(forget(stale));
      return write(kTaskHashes, tasks);
    }
    // Made for other settings: nothing here may be mixed with the new run. What was made from
    // something goes before it, and the hash last, so that a kill on the way leaves no mixture.
    for (const char* name :
         {"run.json", "measured.json", kSamples, "log.txt", "trace.json", "memory.json"}) {
      fs::remove(file(name), error);
    }
    const std::string old_model = file("model.tmp-old");
    fs::rename(file("model"), old_model, error);
    fs::remove_all(old_model, error);
  }
  fs::create_directories(path_, error);
  if (error) return failed("{}: {}", path_, error.message());
  LATHE_OK(write(kTaskHashes, tasks));
  return write_atomically(file(kHash), hash);
}

// What was made from the tasks' old content goes; what is there of others stays.
Status RunFolder::forget(const std::set<std::string>& tasks) const {
  if (has("measured.json")) {
    LATHE_TRY(nlohmann::json measured, read("measured.json"));
    if (!measured.contains("failures")) measured["failures"] = nlohmann::json::array();
    for (const std::string& task : tasks) {
      measured["failures"].push_back({{"name", "task/" + task}, {"error", "its data changed"}});
    }
    LATHE_OK(write("measured.json", measured));
  }
  if (!has(kSamples)) return {};
  LATHE_TRY(SamplesByTask all, samples());
  for (const std::string& task : tasks) all.erase(task);
  return write_samples(all);
}

Status RunFolder::write_samples(const SamplesByTask& all) const {
  std::string lines;
  for (const auto& [task, list] : all) {
    for (const Sample& sample : list) lines += json_line(sample, task);
  }
  return write_atomically(file(kSamples), lines);
}

Result<SamplesByTask> RunFolder::samples() const {
  if (!has(kSamples)) return SamplesByTask();
  LATHE_TRY(const std::string text, read_text(file(kSamples), size_t{4} << 30));
  return parse_samples(text, file(kSamples));
}

Result<SamplesByTask> parse_samples(std::string_view text, const std::string& where) {
  SamplesByTask out;
  int64_t line = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = text.find('\n', begin);
    if (end == std::string_view::npos) break;  // cut short
    const auto json = nlohmann::json::parse(text.substr(begin, end - begin), nullptr, false);
    begin = end + 1;
    ++line;
    auto sample = sample_from_json(json);
    if (!sample.ok() || !json.contains("task") || !json["task"].is_string()) {
      return bad_input("{}:{}: {}", where, line,
                       sample.ok() ? "a sample needs its 'task'" : sample.error().message)
          .with_hint("delete the run's folder to have it run again");
    }
    out[json["task"].get<std::string>()].push_back(std::move(*sample));
  }
  return out;
}

Result<SampleLog> SampleLog::open(const RunFolder& folder) {
  const std::string path = folder.file(kSamples);
  const int descriptor = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (descriptor < 0) return failed("{}: cannot open: {}", path, std::strerror(errno));
  SampleLog log(path, descriptor);
  off_t end = ::lseek(descriptor, 0, SEEK_END);
  char last = '\n';
  while (end > 0 && ::pread(descriptor, &last, 1, end - 1) == 1 && last != '\n') --end;
  if (::ftruncate(descriptor, end) != 0 || ::lseek(descriptor, end, SEEK_SET) < 0) {
    return failed("{}: {}", path, std::strerror(errno));
  }
  return log;
}

SampleLog::SampleLog(SampleLog&& other) noexcept
    : path_(std::move(other.path_)), descriptor_(std::exchange(other.descriptor_, -1)) {}

SampleLog::~SampleLog() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

Status SampleLog::append(const Sample& sample, const std::string& task) {
  const std::string line = json_line(sample, task);
  size_t done = 0;
  while (done < line.size()) {
    const ssize_t wrote = ::write(descriptor_, line.data() + done, line.size() - done);
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) {
      return failed("{}: cannot write: {}", path_, std::strerror(errno))
          .with_hint(errno == ENOSPC || errno == EDQUOT
                         ? "free some disk space and start again; it goes on from here"
                         : "");
    }
    done += static_cast<size_t>(wrote);
  }
  return {};
}

nlohmann::json to_json(const Run& run) {
  nlohmann::json results = nlohmann::json::array();
  for (const Measurement& m : run.results) results.push_back(to_json(m));
  nlohmann::json out = {{"lathe", kVersion},
                        {"command", "sweep"},
                        {"id", run.id},
                        {"variant", run.variant},
                        {"baseline", run.baseline},
                        {"status", run.status},
                        {"error", run.error.empty() ? nlohmann::json() : nlohmann::json(run.error)},
                        {"experiment", run.experiment},
                        {"recipe", run.recipe},
                        {"tasks", run.tasks},
                        {"model", run.model},
                        {"environment", run.environment},
                        {"layers", run.layers},
                        {"samples", run.samples},
                        {"results", results}};
  if (!run.failures.empty()) out["failures"] = run.failures;
  return out;
}

Result<Run> run_from_json(const nlohmann::json& j) {
  if (!j.is_object()) return bad_input("not a run: no JSON object");
  const auto text = [&](const char* key) { return j.contains(key) && j[key].is_string(); };
  for (const char* key : {"id", "variant", "status"}) {
    if (!text(key)) return bad_input("not a run: '{}' is missing or no text", key);
  }
  if (!j.contains("results") || !j["results"].is_array()) {
    return bad_input("not a run: 'results' is missing or no list");
  }
  // What reports look into must have its shape; null stands for what a failed run never came to.
  const auto part = [&](const char* key, bool list, nlohmann::json& out) -> Status {
    out = list ? nlohmann::json::array() : nlohmann::json::object();
    if (!j.contains(key) || j[key].is_null()) return {};
    if (list ? !j[key].is_array() : !j[key].is_object()) {
      return bad_input("not a run: '{}' is no {}", key, list ? "list" : "object");
    }
    out = j[key];
    return {};
  };
  Run run;
  run.id = j["id"].get<std::string>();
  run.variant = j["variant"].get<std::string>();
  run.status = j["status"].get<std::string>();
  if (text("baseline")) run.baseline = j["baseline"].get<std::string>();
  if (text("error")) run.error = j["error"].get<std::string>();
  LATHE_OK(part("model", false, run.model));
  LATHE_OK(part("environment", false, run.environment));
  LATHE_OK(part("experiment", false, run.experiment));
  LATHE_OK(part("recipe", false, run.recipe));
  LATHE_OK(part("tasks", true, run.tasks));
  LATHE_OK(part("layers", true, run.layers));
  LATHE_OK(part("samples", true, run.samples));
  LATHE_OK(part("failures", true, run.failures));
  for (const char* key : {"name", "created", "yaml", "baseline"}) {
    if (run.experiment.contains(key) && !run.experiment[key].is_string()) {
      return bad_input("not a run: 'experiment.{}' is no text", key);
    }
  }
  if (run.model.contains("path") && !run.model["path"].is_string()) {
    return bad_input("not a run: 'model.path' is no text");
  }
  for (const auto& row : j["results"]) {
    LATHE_TRY(Measurement m, measurement_from_json(row));
    run.results.push_back(std::move(m));
  }
  return run;
}

Result<std::vector<Run>> load_runs(const std::string& path) {
  std::error_code error;
  if (!fs::is_directory(path, error)) {
    return not_found("{}: no such folder", path).with_hint("give the folder that a sweep wrote");
  }
  std::vector<std::string> files;
  auto it = fs::recursive_directory_iterator(path, error);
  for (; !error && it != fs::recursive_directory_iterator(); it.increment(error)) {
    if (it->path().filename() == "run.json") files.push_back(it->path().string());
    if (it->path().filename() == "model") it.disable_recursion_pending();
  }
  if (files.empty()) return not_found("{}: holds no runs (no run.json)", path);
  std::sort(files.begin(), files.end());
  std::vector<std::pair<int64_t, Run>> ordered;
  for (const std::string& file : files) {
    LATHE_TRY(const std::string text, read_text(file));
    const auto json = nlohmann::json::parse(text, nullptr, false);
    LATHE_TRY_IN(Run run, run_from_json(json), file);
    run.folder = fs::path(file).parent_path().string();
    const auto at = run.experiment.find("order");
    const int64_t order =
        at != run.experiment.end() && at->is_number_integer() ? at->get<int64_t>() : 0;
    ordered.emplace_back(order, std::move(run));
  }
  std::stable_sort(ordered.begin(), ordered.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<Run> runs;
  for (auto& [order, run] : ordered) runs.push_back(std::move(run));
  return runs;
}

}  // namespace lathe
