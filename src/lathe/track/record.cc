#include "lathe/track/record.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <random>

#include "lathe/base/hash.h"
#include "lathe/base/mapped_file.h"
#include "lathe/base/parse_json.h"
#include "lathe/io/atomic_file.h"

namespace lathe {
namespace {

namespace fs = std::filesystem;
constexpr int64_t kSeriesPoints = 50;

int64_t now_ms() {
  using std::chrono::duration_cast, std::chrono::milliseconds, std::chrono::system_clock;
  return duration_cast<milliseconds>(system_clock::now().time_since_epoch()).count();
}

// What every tracker takes in a name: letters, digits, "_-./ "; no empty, "." or ".." part.
std::string safe_key(const std::string& text) {
  std::string out;
  for (const char c : text) {
    const bool plain = std::isalnum(static_cast<unsigned char>(c)) || std::strchr("_-. /", c);
    if (c == '/' && (out.empty() || out.back() == '/')) continue;
    if (c == '.' && (out.empty() || out.back() == '/' || out.back() == '.')) {
      out += '_';
    } else {
      out += plain ? c : '_';
    }
  }
  while (!out.empty() && out.back() == '/') out.pop_back();
  if (out.size() > 200) out.resize(200);
  return out.empty() ? "_" : out;
}

std::string text_of(const nlohmann::json& value) {
  using Handler = nlohmann::json::error_handler_t;
  return value.is_string() ? value.get<std::string>()
                           : value.dump(-1, ' ', false, Handler::replace);
}

// {"passes": [{"format": "f16"}]} → passes.0.format = f16
void flatten(const std::string& prefix, const nlohmann::json& value, NamedTexts& out) {
  if (value.is_object() && !value.empty()) {
    for (const auto& [key, item] : value.items()) {
      flatten(prefix.empty() ? key : prefix + "." + key, item, out);
    }
  } else if (value.is_array() && !value.empty() && value[0].is_structured()) {
    for (size_t i = 0; i < value.size(); ++i) {
      flatten(fmt::format("{}.{}", prefix, i), value[i], out);
    }
  } else if (!value.is_null()) {
    out.emplace_back(safe_key(prefix), text_of(value));
  }
}

void add_results(const Run& run, std::vector<TrackedMetric>& out) {
  for (const Measurement& m : run.results) {
    if (m.extra.contains("unknown")) continue;  // a reason instead of a number
    const std::string convention = member_or(m.extra, "convention", "");
    const std::string key =
        safe_key(m.task + "/" + m.metric + (convention.empty() ? "" : "." + convention));
    const auto add = [&](const char* suffix, const std::optional<double>& value) {
      if (value) out.push_back({key + suffix, *value});
    };
    out.push_back({key, m.value});
    add(".low", m.low);
    add(".high", m.high);
    add(".delta", m.baseline_delta);
  }
}

Status add_series(const Run& run, const RunFolder& folder, std::vector<TrackedMetric>& out) {
  LATHE_TRY(const auto samples, folder.samples());
  for (const auto& [task, list] : samples) {
    std::map<std::string, double> sums;
    const auto count = static_cast<int64_t>(list.size());
    const int64_t stride = std::max<int64_t>(1, count / kSeriesPoints);
    for (int64_t i = 0; i < count; ++i) {
      const auto& scores = list[static_cast<size_t>(i)].scores;
      for (const auto& [name, value] : scores) sums[name] += value;
      if ((i + 1) % stride != 0 && i + 1 != count) continue;
      for (const auto& [name, sum] : sums) {
        out.push_back(
            {safe_key("running/" + task + "/" + name), sum / static_cast<double>(i + 1), i + 1});
      }
    }
  }
  int64_t layer = 0;
  if (run.layers.is_array()) {
    for (const auto& entry : run.layers) {
      const auto it = entry.find("mse");
      if (it != entry.end() && it->is_number()) {
        out.push_back({"layers/mse", it->get<double>(), layer});
      }
      ++layer;
    }
  }
  if (folder.has("memory.json")) {
    LATHE_TRY(const auto memory, folder.read("memory.json"));
    const auto points = member_or(memory, "points", nlohmann::json::array());
    for (const auto& point : points) {
      if (!point.is_array() || point.size() < 2 || !point[0].is_number() || !point[1].is_number())
        continue;
      out.push_back({"memory/rss_bytes", point[1].get<double>(), point[0].get<int64_t>()});
    }
  }
  return {};
}

std::string digest_of(const RunRecord& r) {
  nlohmann::json all = {r.name, r.failed, r.params, r.tags, r.artifacts};
  for (const TrackedMetric& m : r.metrics) all.push_back({m.key, m.value, m.step});
  using Handler = nlohmann::json::error_handler_t;
  return sha256_hex(all.dump(-1, ' ', false, Handler::replace));
}

std::string random_id() {
  std::random_device device;
  std::string out;
  for (int i = 0; i < 4; ++i) out += fmt::format("{:08x}", device());
  return out;
}

}  // namespace

Result<SweepRecord> sweep_record(const std::string& folder, const nlohmann::json& experiment) {
  const std::string path = folder + "/sweep_id";
  std::error_code error;
  if (!fs::exists(path, error)) {
    fs::create_directories(folder, error);
    LATHE_OK(write_atomically(path, fmt::format("{} {}\n", random_id(), now_ms())));
  }
  LATHE_TRY(const std::string text, read_text(path, 4096));
  SweepRecord sweep;
  const size_t space = text.find(' ');
  if (space == std::string::npos || space < 8) {
    return bad_input("{}: not a sweep's id", path).with_hint("delete the file: a new id is made");
  }
  sweep.key = sha256_hex(text.substr(0, space));
  sweep.started_ms = std::strtoll(text.c_str() + space, nullptr, 10);
  sweep.folder = folder;
  const nlohmann::json facts = experiment.is_object() ? experiment : nlohmann::json::object();
  sweep.name = member_or(facts, "name", "lathe");
  for (const char* key : {"baseline", "seed"}) {
    if (facts.contains(key)) sweep.params.emplace_back(key, text_of(facts[key]));
  }
  for (const char* name : {"experiment.yaml", "report.html", "results.csv", "results.json",
                           "results.jsonl", "results.md"}) {
    const std::string file = folder + "/" + name;
    if (fs::exists(file, error)) sweep.artifacts.emplace_back(name, file);
  }
  return sweep;
}

namespace {

Result<RunRecord> read_record(const SweepRecord& sweep, const Run& run) {
  const RunFolder folder(run.folder);
  RunRecord r;
  r.name = run.id;
  r.failed = run.status != "done";
  std::string settings;
  if (folder.has("hash")) {
    LATHE_TRY(settings, read_text(folder.file("hash"), 4096));
  }
  r.key = sha256_hex(sweep.key + "/" + run.id + "/" + settings);
  const nlohmann::json facts =
      run.experiment.is_object() ? run.experiment : nlohmann::json::object();
  for (const char* key : {"started_ms", "ended_ms"}) {
    if (facts.contains(key) && !facts[key].is_number_integer()) {
      return bad_input("{}: '{}' is no whole number", run.folder, key);
    }
  }
  r.ended_ms = member_or(facts, "ended_ms", now_ms());
  r.started_ms = member_or(facts, "started_ms", r.ended_ms);

  r.params.emplace_back("variant", run.variant);
  r.params.emplace_back("baseline", run.baseline);
  if (!run.results.empty()) r.params.emplace_back("format", run.results[0].format);
  if (run.model.is_object()) flatten("model", run.model, r.params);
  flatten("recipe", run.recipe, r.params);
  if (run.tasks.is_array()) {
    for (const auto& task : run.tasks) {
      flatten("task." + member_or(task, "name", ""),
              member_or(task, "parameters", nlohmann::json()), r.params);
    }
  }
  NamedTexts environment;
  if (run.environment.is_object()) flatten("environment", run.environment, environment);
  r.tags = std::move(environment);
  r.tags.emplace_back("lathe.status", run.status);
  if (!run.error.empty()) r.tags.emplace_back("lathe.error", run.error);

  add_results(run, r.metrics);
  LATHE_OK(add_series(run, folder, r.metrics));
  for (const char* name : {"run.json", "samples.jsonl", "trace.json", "memory.json", "log.txt"}) {
    if (folder.has(name)) r.artifacts.emplace_back(name, folder.file(name));
  }
  r.digest = digest_of(r);
  return r;
}

}  // namespace

Result<RunRecord> run_record(const SweepRecord& sweep, const Run& run) {
  try {
    return read_record(sweep, run);
  } catch (const nlohmann::json::exception& error) {  // a field is not what it should be
    return bad_input("{}: {}", run.folder, error.what());
  }
}

Result<std::vector<TrackedSweep>> group_by_sweep(const std::vector<Run>& runs) {
  std::vector<TrackedSweep> out;
  for (const Run& run : runs) {
    const std::string own = fs::path(run.folder).lexically_normal().string();
    const std::string tail = "/" + run.id;
    const std::string root = own.size() > tail.size() && own.ends_with(tail)
                                 ? own.substr(0, own.size() - tail.size())
                                 : fs::path(own).parent_path().string();
    auto it = std::find_if(out.begin(), out.end(),
                           [&](const TrackedSweep& s) { return s.sweep.folder == root; });
    if (it == out.end()) {
      LATHE_TRY(SweepRecord sweep, sweep_record(root.empty() ? "." : root, run.experiment));
      sweep.folder = root;
      out.push_back({std::move(sweep), {}});
      it = out.end() - 1;
    }
    LATHE_TRY(RunRecord record, run_record(it->sweep, run));
    it->runs.push_back(std::move(record));
  }
  return out;
}

}  // namespace lathe
