#include "lathe/lab/finish_run.h"

#include <algorithm>
#include <cmath>

#include "lathe/base/parse_json.h"
#include "lathe/base/parse_number.h"
#include "lathe/eval/task.h"
#include "lathe/profile/probe.h"

namespace lathe {
namespace {

constexpr size_t kShownSamples = 20;

// "9" before "10", and both before words.
bool id_before(const std::string& a, const std::string& b) {
  const auto x = parse_number<int64_t>(a), y = parse_number<int64_t>(b);
  if (x && y) return *x < *y;
  if (x || y) return x.has_value();
  return a < b;
}

// The same ids for every run, so that predictions can be read side by side.
void show_samples(const std::string& task, std::vector<Sample> samples, nlohmann::json& out) {
  std::erase_if(samples, [](const Sample& s) { return !s.detail.contains("prediction"); });
  std::sort(samples.begin(), samples.end(),
            [](const Sample& a, const Sample& b) { return id_before(a.id, b.id); });
  if (samples.size() > kShownSamples) samples.resize(kShownSamples);
  for (const Sample& sample : samples) out.push_back(to_json(sample, task));
}

const Measurement* find(const std::vector<Measurement>& rows, const char* metric) {
  for (const Measurement& m : rows) {
    if (m.metric == metric) return &m;
  }
  return nullptr;
}

// What tokens cost at the speed that was measured with one request at a time, and what a budget
// buys.
void add_cost(double usd_per_hour, std::optional<double> budget_usd,
              std::vector<Measurement>& rows) {
  const auto add = [&](const char* metric, const char* bought, const char* speed) {
    const Measurement* found = find(rows, speed);  // rows grows below
    const std::optional<Measurement> tokens_per_s = found ? std::optional(*found) : std::nullopt;
    if (!tokens_per_s || tokens_per_s->value <= 0) return;
    Measurement m;
    m.task = "cost";
    m.metric = metric;
    m.value = usd_per_hour / 3600 / tokens_per_s->value * 1e6;
    m.n = tokens_per_s->n;
    m.unit = "USD";
    m.better = "lower";
    m.extra["usd_per_hour"] = usd_per_hour;
    const double rate = tokens_per_s->value;
    rows.push_back(m);
    if (!budget_usd || usd_per_hour <= 0) return;
    m.metric = bought;
    m.value = std::floor(*budget_usd / usd_per_hour * 3600 * rate);
    m.unit = "tokens";
    m.better = "higher";
    m.extra["budget_usd"] = *budget_usd;
    rows.push_back(std::move(m));
  };
  add("usd_per_million_tokens", "budget_tokens", "decode_tokens_per_s");
  add("usd_per_million_prompt_tokens", "budget_prompt_tokens", "prefill_tokens_per_s");
}

bool has_failed(const Run& run, const std::string& name) {
  return std::any_of(run.failures.begin(), run.failures.end(),
                     [&](const auto& f) { return f["name"] == name; });
}

// What a run's own process wrote down, or an error where it is not that.
Result<nlohmann::json> read_measured(const RunFolder& folder) {
  LATHE_TRY(nlohmann::json measured, folder.read("measured.json"));
  const auto is = [&](const char* key, auto check) {
    const auto it = measured.find(key);
    return it != measured.end() && check(*it);
  };
  const auto object = [](const nlohmann::json& j) { return j.is_object(); };
  if (is("environment", object) && is("preflight", object) &&
      is("parameters", [](const auto& j) { return j.is_number_integer(); }) &&
      is("format", [](const auto& j) { return j.is_string(); }) &&
      is("results", [](const auto& j) { return j.is_array(); })) {
    const auto text = [](const nlohmann::json& j, const char* key) {
      return j.contains(key) && j[key].is_string();
    };
    const auto failures = measured.find("failures");
    if (failures == measured.end() ||
        (failures->is_array() &&
         std::all_of(failures->begin(), failures->end(), [&](const auto& f) {
           return f.is_object() && text(f, "name") && text(f, "error");
         }))) {
      return measured;
    }
  }
  return bad_input("{}: needs environment, preflight, parameters, format and results",
                   folder.file("measured.json"))
      .with_hint("delete the run's folder to have it run again");
}

}  // namespace

Status finish_run(const Experiment& experiment, const RunFolder& folder,
                  const SamplesByTask* baseline, Run& run) {
  LATHE_TRY(const nlohmann::json measured, read_measured(folder));
  LATHE_TRY(const SamplesByTask samples, folder.samples());
  run.environment = measured["environment"];
  run.model["parameters"] = measured["parameters"];
  for (const char* key : {"started_ms", "ended_ms"}) {
    if (measured.contains(key)) run.experiment[key] = measured[key];
  }
  run.tasks = nlohmann::json::array();
  run.samples = nlohmann::json::array();
  run.results.clear();
  run.failures = member_or(measured, "failures", nlohmann::json::array());
  const auto variant = std::find_if(experiment.variants.begin(), experiment.variants.end(),
                                    [&](const VariantSpec& v) { return v.name == run.variant; });
  LATHE_CHECK(variant != experiment.variants.end());
  for (const NamedParameters& entry : variant->tasks) {
    LATHE_TRY(const auto task, make_task(entry.name, entry.parameters));
    run.tasks.push_back(
        {{"name", entry.name},
         {"parameters", entry.parameters},
         {"preflight", member_or(measured["preflight"], entry.name, nlohmann::json())}});
    const auto ours = samples.find(entry.name);
    // What a failed task has left are the first of its samples, not a smaller data set.
    if (ours == samples.end() || has_failed(run, "task/" + entry.name)) continue;
    const std::vector<Sample>* theirs = nullptr;
    if (baseline) {
      const auto it = baseline->find(entry.name);
      if (it != baseline->end()) theirs = &it->second;
    }
    // Sums over samples must not depend on the order in which they were finished.
    std::vector<Sample> ordered = ours->second;
    std::sort(ordered.begin(), ordered.end(),
              [](const Sample& a, const Sample& b) { return id_before(a.id, b.id); });
    for (Measurement& m : aggregate(*task, ordered, theirs, experiment.seed)) {
      run.results.push_back(std::move(m));
    }
    show_samples(entry.name, ordered, run.samples);
  }
  for (const auto& row : measured["results"]) {
    LATHE_TRY_IN(Measurement m, measurement_from_json(row), folder.file("measured.json"));
    run.results.push_back(std::move(m));
  }
  if (experiment.usd_per_hour)
    add_cost(*experiment.usd_per_hour, experiment.budget_usd, run.results);
  for (Measurement& m : run.results) {
    m.variant = run.variant;
    m.format = measured["format"].get<std::string>();
  }
  if (folder.has("model/lathe.json")) {
    LATHE_TRY(const nlohmann::json checkpoint, folder.read("model/lathe.json"));
    run.layers = member_or(checkpoint, "layers", nlohmann::json::array());
  }
  return {};
}

bool measures_no_quality(const std::string& task) {
  return task == "cost" || std::ranges::any_of(probe_kinds(), [&](const ProbeKind& kind) {
           return task == kind.name;
         });
}

}  // namespace lathe
