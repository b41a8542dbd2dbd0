#include "lathe/track/run_store.h"

#include <fcntl.h>
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

}  // namespace

bool RunFolder::has(const std::string& name) const {
  std::error_code error;
  return fs::exists(file(name), error);
}

Result<nlohmann::json> RunFolder::read(const std::string& name) const {
  LATHE_TRY(const std::string text, read_text(file(name)));
  nlohmann::json json = nlohmann::json::parse(text, nullptr, false);
  if (json.is_discarded()) return bad_input("{}: not valid JSON", file(name));
  return json;
}

Status RunFolder::write(const std::string& name, const nlohmann::json& json) const {
  using Handler = nlohmann::json::error_handler_t;
  return write_atomically(file(name), json.dump(1, ' ', false, Handler::replace) + "\n");
}

Status RunFolder::begin(const std::string& hash) const {
  std::error_code error;
  if (has(kHash)) {
    const auto found = read_text(file(kHash));
    if (found.ok() && *found == hash) return {};
    // Made for other settings: nothing here may be mixed with the new run.
    for (const char* name : {"run.json", "measured.json", kSamples, kHash, "log.txt"}) {
      fs::remove(file(name), error);
    }
    fs::remove_all(file("model"), error);
  }
  fs::create_directories(path_, error);
  if (error) return failed("{}: {}", path_, error.message());
  return write_atomically(file(kHash), hash);
}

Result<std::map<std::string, std::vector<Sample>>> RunFolder::samples() const {
  std::map<std::string, std::vector<Sample>> out;
  if (!has(kSamples)) return out;
  LATHE_TRY(const std::string text, read_text(file(kSamples), size_t{4} << 30));
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = text.find('\n', begin);
    if (end == std::string::npos) break;  // cut short
    const auto json =
        nlohmann::json::parse(text.begin() + static_cast<ptrdiff_t>(begin),
                              text.begin() + static_cast<ptrdiff_t>(end), nullptr, false);
    begin = end + 1;
    LATHE_TRY_IN(Sample sample, sample_from_json(json), file(kSamples));
    out[json.value("task", "")].push_back(std::move(sample));
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
  using Handler = nlohmann::json::error_handler_t;
  const std::string line = to_json(sample, task).dump(-1, ' ', false, Handler::replace) + "\n";
  size_t done = 0;
  while (done < line.size()) {
    const ssize_t wrote = ::write(descriptor_, line.data() + done, line.size() - done);
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0 && errno == ENOSPC) return no_room("{}: the disk is full", path_);
    if (wrote < 0) return failed("{}: cannot write: {}", path_, std::strerror(errno));
    done += static_cast<size_t>(wrote);
  }
  return {};
}

nlohmann::json to_json(const Run& run) {
  nlohmann::json results = nlohmann::json::array();
  for (const Measurement& m : run.results) results.push_back(to_json(m));
  return {{"lathe", kVersion},
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
}

Result<Run> run_from_json(const nlohmann::json& j) {
  Run run;
  try {
    run.id = j.at("id").get<std::string>();
    run.variant = j.at("variant").get<std::string>();
    run.baseline = j.value("baseline", "");
    run.status = j.at("status").get<std::string>();
    if (j.contains("error") && j["error"].is_string()) run.error = j["error"].get<std::string>();
    const auto get = [&](const char* key) { return j.contains(key) ? j[key] : nlohmann::json(); };
    run.model = get("model");
    run.environment = get("environment");
    run.experiment = get("experiment");
    run.recipe = get("recipe");
    run.tasks = get("tasks");
    run.layers = get("layers");
    run.samples = get("samples");
    for (const auto& row : j.at("results")) run.results.push_back(measurement_from_json(row));
  } catch (const nlohmann::json::exception& e) {
    return bad_input("not a run: {}", e.what());
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
    const int64_t order =
        run.experiment.is_object() ? run.experiment.value("order", int64_t{0}) : 0;
    ordered.emplace_back(order, std::move(run));
  }
  std::stable_sort(ordered.begin(), ordered.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<Run> runs;
  for (auto& [order, run] : ordered) runs.push_back(std::move(run));
  return runs;
}

}  // namespace lathe
