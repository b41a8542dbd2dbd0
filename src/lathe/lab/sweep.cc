#include "lathe/lab/sweep.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <ctime>
#include <filesystem>

#include "lathe/base/hash.h"
#include "lathe/base/log.h"
#include "lathe/base/suggest.h"
#include "lathe/base/threads.h"
#include "lathe/base/version.h"
#include "lathe/compress/compressor.h"
#include "lathe/compress/predict.h"
#include "lathe/lab/finish_run.h"
#include "lathe/lab/run_process.h"
#include "lathe/profile/environment.h"

namespace lathe {
namespace {

namespace fs = std::filesystem;

// "models/tiny/" → "tiny"; "Qwen/Qwen2.5-0.5B" → "Qwen2.5-0.5B".
std::string slug_of(const std::string& model) {
  std::string name = fs::path(model).lexically_normal().string();
  while (name.size() > 1 && name.back() == '/') name.pop_back();
  name = fs::path(name).filename().string();
  std::replace_if(
      name.begin(), name.end(),
      [](char c) {
        return !std::isalnum(static_cast<unsigned char>(c)) && !std::strchr("._+-", c);
      },
      '_');
  return name.empty() || name[0] == '.' ? "model" : name;
}

bool chosen(const std::string& name, const SweepOptions& options) {
  const auto in = [&](const std::vector<std::string>& list) {
    return std::find(list.begin(), list.end(), name) != list.end();
  };
  return (options.only.empty() || in(options.only)) && !in(options.skip);
}

Status check_names(const Experiment& experiment, const SweepOptions& options) {
  std::vector<std::string> known;
  for (const VariantSpec& v : experiment.variants) known.push_back(v.name);
  for (const auto* list : {&options.only, &options.skip}) {
    for (const std::string& name : *list) {
      if (std::find(known.begin(), known.end(), name) == known.end()) {
        return bad_input("no variant '{}' in the experiment", name).with_hint(suggest(name, known));
      }
    }
  }
  return {};
}

// The baseline first, the others in the file's order.
std::vector<const VariantSpec*> in_running_order(const Experiment& experiment) {
  std::vector<const VariantSpec*> out;
  for (const VariantSpec& v : experiment.variants) out.push_back(&v);
  std::stable_partition(out.begin(), out.end(),
                        [&](const VariantSpec* v) { return v->name == experiment.baseline; });
  return out;
}

std::string now_text() {
  char text[32];
  const std::time_t now = std::time(nullptr);
  std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", std::gmtime(&now));
  return text;
}

class Sweep {
 public:
  Sweep(const Experiment& experiment, const SweepOptions& options)
      : experiment_(experiment),
        options_(options),
        threads_(options.threads > 0 ? options.threads : ThreadPool::available_cores()) {}

  Result<SweepOutcome> run(const std::function<void(const Run&)>& on_run) {
    LATHE_TRY(const auto plan, plan_sweep(experiment_, options_));
    outcome_.folder = options_.runs_folder + "/" + experiment_.name;
    int64_t number = 0;
    for (const PlannedRun& planned : plan) {
      spdlog::info("[{}/{}] {}", ++number, plan.size(), planned.id);
      Run run = identity_of(planned);
      const Status status = planned.problem.empty() ? perform(planned, run)
                                                    : Status(bad_input("{}", planned.problem));
      LATHE_OK(record(planned, status, run));
      if (on_run) on_run(run);
      outcome_.runs.push_back(std::move(run));
    }
    restore_file_order();
    return std::move(outcome_);
  }

 private:
  Run identity_of(const PlannedRun& planned) const {
    Run run;
    run.id = planned.id;
    run.folder = planned.folder;
    run.variant = planned.variant->name;
    run.baseline = experiment_.baseline;
    run.recipe = to_json(planned.variant->recipe);
    run.model = {{"path", planned.model}};
    run.experiment = {{"name", experiment_.name},
                      {"baseline", experiment_.baseline},
                      {"yaml", experiment_.text},
                      {"order", order_of(planned)}};
    return run;
  }

  int64_t order_of(const PlannedRun& planned) const {
    int64_t order = 0;
    for (const std::string& model : experiment_.models) {
      for (const VariantSpec& variant : experiment_.variants) {
        if (model == planned.model && &variant == planned.variant) return order;
        ++order;
      }
    }
    return order;
  }

  // Opens and hashes a model once for all its variants.
  Status open_source(const std::string& model) {
    if (source_name_ == model) return {};
    source_name_.clear();
    LATHE_TRY(const std::string path, resolve_model(model));
    LATHE_TRY(source_, open_checkpoint(path));
    LATHE_TRY(source_description_, describe_model(*source_, 0));
    source_name_ = model;
    return {};
  }

  std::string hash_of(const PlannedRun& planned) const {
    nlohmann::json tasks = nlohmann::json::array(), probes = nlohmann::json::array();
    for (const auto& t : experiment_.tasks) tasks.push_back({t.name, t.parameters});
    for (const auto& p : experiment_.probes) probes.push_back({p.name, p.parameters});
    return sha256_hex(nlohmann::json({{"lathe", kVersion},
                                      {"model", source_description_["hash"]},
                                      {"recipe", to_json(planned.variant->recipe)},
                                      {"tasks", tasks},
                                      {"probes", probes},
                                      {"seed", experiment_.seed},
                                      {"context", experiment_.context},
                                      {"kv", name_of(experiment_.kv)},
                                      {"threads", threads_},
                                      {"device", options_.device}})
                          .dump());
  }

  Status perform(const PlannedRun& planned, Run& run) {
    LATHE_OK(open_source(planned.model));
    run.model = source_description_;
    const RunFolder folder(planned.folder);
    LATHE_TRY(const RunLock lock, folder.lock());
    LATHE_OK(folder.begin(hash_of(planned)));
    if (folder.has("measured.json")) {
      ++outcome_.reused;
    } else {
      LATHE_OK(compress_and_measure(planned, folder));
    }
    const auto baseline = baselines_.find(planned.model);
    const bool is_baseline = planned.variant->name == experiment_.baseline;
    LATHE_OK(finish_run(experiment_, folder,
                        is_baseline || baseline == baselines_.end() ? nullptr : &baseline->second,
                        run));
    if (is_baseline) {
      LATHE_TRY(baselines_[planned.model], folder.samples());
    }
    return {};
  }

  Status compress_and_measure(const PlannedRun& planned, const RunFolder& folder) {
    std::string model_path = source_->path();
    if (!planned.variant->recipe.empty()) {
      model_path = folder.file("model");
      if (!folder.has("model/lathe.json")) {
        ThreadPool pool(threads_);
        LATHE_TRY(const auto report,
                  compress(*source_, planned.variant->recipe, model_path, pool, {}));
        spdlog::info("compressed to {:.2f} bits per weight in {:.1f} s", report.bits_per_weight,
                     report.seconds);
      }
    }
    nlohmann::json tasks = nlohmann::json::array(), probes = nlohmann::json::array();
    for (const auto& t : experiment_.tasks) {
      tasks.push_back({{"name", t.name}, {"parameters", t.parameters}});
    }
    for (const auto& p : experiment_.probes) {
      probes.push_back({{"name", p.name}, {"parameters", p.parameters}});
    }
    LATHE_OK(folder.write("job.json", {{"model_path", model_path},
                                       {"tasks", tasks},
                                       {"probes", probes},
                                       {"seed", experiment_.seed},
                                       {"context", experiment_.context},
                                       {"kv", name_of(experiment_.kv)},
                                       {"threads", threads_},
                                       {"device", options_.device}}));
    return run_in_own_process(planned.folder);
  }

  Status record(const PlannedRun& planned, const Status& status, Run& run) {
    run.status = status.ok() ? "done" : "failed";
    if (!status.ok()) {
      const Error& error = status.error();
      run.error = error.hint.empty() ? error.message : error.message + " (" + error.hint + ")";
    }
    run.experiment["created"] = now_text();
    if (Status written = write_record(planned, run); !written.ok()) {
      // The first thing that went wrong says more: where the disk is full, both fail.
      return status.ok() ? written : status;
    }
    if (!status.ok()) {
      ++outcome_.failed;
      if (status.error().code == ErrorCode::kNoRoom) ++outcome_.no_room;
      spdlog::error("{}: {}", planned.id, run.error);
    }
    return {};
  }

  Status write_record(const PlannedRun& planned, const Run& run) const {
    std::error_code error;
    fs::create_directories(planned.folder, error);
    if (error) return failed("{}: {}", planned.folder, error.message());
    const RunFolder folder(planned.folder);
    LATHE_OK(folder.write("run.json", to_json(run)));
    if (!options_.keep_models) fs::remove_all(folder.file("model"), error);
    return {};
  }

  void restore_file_order() {
    std::stable_sort(outcome_.runs.begin(), outcome_.runs.end(), [](const Run& a, const Run& b) {
      return a.experiment["order"].get<int64_t>() < b.experiment["order"].get<int64_t>();
    });
  }

  const Experiment& experiment_;
  const SweepOptions& options_;
  int threads_;
  SweepOutcome outcome_;
  std::string source_name_;
  std::unique_ptr<const Checkpoint> source_;
  nlohmann::json source_description_;
  std::map<std::string, SamplesByTask> baselines_;
};

}  // namespace

Result<std::vector<PlannedRun>> plan_sweep(const Experiment& experiment,
                                           const SweepOptions& options) {
  LATHE_OK(check_names(experiment, options));
  std::vector<PlannedRun> plan;
  for (const std::string& model : experiment.models) {
    std::unique_ptr<const Checkpoint> source;
    std::string problem;
    if (auto path = resolve_model(model); !path.ok()) {
      problem = path.error().message;
    } else if (auto opened = open_checkpoint(*path); !opened.ok()) {
      problem = opened.error().message;
    } else {
      source = std::move(*opened);
    }
    for (const VariantSpec* variant : in_running_order(experiment)) {
      if (!chosen(variant->name, options)) continue;
      PlannedRun run;
      run.model = model;
      run.variant = variant;
      run.id = experiment.models.size() > 1 ? slug_of(model) + "/" + variant->name : variant->name;
      run.folder = options.runs_folder + "/" + experiment.name + "/" + run.id;
      run.problem = problem;
      if (source) {
        const auto bytes = predicted_bytes(*source, variant->recipe);
        if (bytes.ok()) run.stored_bytes = *bytes;
        if (!bytes.ok()) run.problem = bytes.error().message;
      }
      const RunFolder folder(run.folder);
      run.state = folder.has("measured.json")   ? "done"
                  : folder.has("samples.jsonl") ? "begun"
                                                : "new";
      plan.push_back(std::move(run));
    }
  }
  if (plan.empty()) return bad_input("--only and --skip leave no variant to run");
  return plan;
}

Result<SweepOutcome> sweep(const Experiment& experiment, const SweepOptions& options,
                           const std::function<void(const Run&)>& on_run) {
  return Sweep(experiment, options).run(on_run);
}

}  // namespace lathe
