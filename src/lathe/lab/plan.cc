#include "lathe/lab/plan.h"

#include <algorithm>
#include <cstring>
#include <filesystem>

#include "lathe/backend/kv_cache.h"
#include "lathe/base/suggest.h"
#include "lathe/compress/predict.h"
#include "lathe/eval/task.h"
#include "lathe/generate/generator.h"
#include "lathe/lab/forecast.h"
#include "lathe/track/run_store.h"

namespace lathe {
namespace {

namespace fs = std::filesystem;

// Program, thread stacks and working space, beside weights and caches.
constexpr int64_t kProcessBytes = int64_t{64} << 20;
constexpr int64_t kDefaultContext = 4096;  // as the engine's

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

bool fits(const PlannedRun& run, const std::string& pattern) {
  return glob_matches(pattern, run.variant->name) || glob_matches(pattern, run.id);
}

Status choose(const SweepOptions& options, std::vector<PlannedRun>& plan) {
  for (const auto* list : {&options.only, &options.skip}) {
    for (const std::string& pattern : *list) {
      if (std::any_of(plan.begin(), plan.end(), [&](const auto& r) { return fits(r, pattern); }))
        continue;
      std::vector<std::string> known;
      for (const PlannedRun& run : plan) {
        if (std::find(known.begin(), known.end(), run.variant->name) == known.end())
          known.push_back(run.variant->name);
      }
      return bad_input("no variant '{}' in the experiment", pattern)
          .with_hint(suggest(pattern, known));
    }
  }
  const auto in = [](const PlannedRun& run, const std::vector<std::string>& list) {
    return std::any_of(list.begin(), list.end(), [&](const auto& p) { return fits(run, p); });
  };
  std::erase_if(plan, [&](const PlannedRun& run) {
    return (!options.only.empty() && !in(run, options.only)) || in(run, options.skip);
  });
  if (plan.empty()) return bad_input("--only and --skip leave no variant to run");
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

int64_t parameters_of(const Checkpoint& source) {
  int64_t count = 0;
  for (const MatrixInfo& m : matrices_of(source.config())) count += m.rows * m.cols;
  return count;
}

// What a model that judges the answers needs when the other one is gone: its weights, packed.
int64_t judge_memory_of(const VariantSpec& variant) {
  int64_t most = 0;
  for (const NamedParameters& entry : variant.tasks) {
    const auto task = make_task(entry.name, entry.parameters);
    if (!task.ok()) continue;  // said by the run itself
    int64_t bytes = 0;
    for (const std::string& file : (*task)->judge_files()) {
      std::error_code error;
      const auto size = fs::file_size(file, error);
      if (!error) bytes += static_cast<int64_t>(size);
    }
    most = std::max(most, bytes);
  }
  return most + kProcessBytes;
}

// Weights as they are stored, and the caches of as many sequences as the engine takes at once.
int64_t memory_of(const Checkpoint& source, int64_t stored_bytes, int64_t context) {
  const GenerateOptions batching;
  const int64_t positions =
      context > 0 ? context : std::min(source.config().max_positions, kDefaultContext);
  const int64_t caches =
      batching.max_batch * KvCache::bytes_for(source.config().kv_shape(), positions);
  return stored_bytes + std::min(caches, batching.max_kv_bytes) + kProcessBytes;
}

}  // namespace

Result<std::vector<PlannedRun>> plan_sweep(const Experiment& experiment,
                                           const SweepOptions& options) {
  std::vector<PlannedRun> plan;
  std::map<std::string, std::string> slugs;
  const Forecast forecast(options.runs_folder);
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
    const std::string slug = slug_of(model);
    if (const auto [it, fresh] = slugs.emplace(slug, model); !fresh) {
      return bad_input("the models '{}' and '{}' would share the folder '{}'", it->second, model,
                       slug)
          .with_hint("give one of them another path");
    }
    for (const VariantSpec* variant : in_running_order(experiment)) {
      PlannedRun run;
      run.model = model;
      run.variant = variant;
      run.id = experiment.models.size() > 1 ? slug + "/" + variant->name : variant->name;
      run.folder = options.runs_folder + "/" + experiment.name + "/" + run.id;
      run.order = static_cast<int64_t>(slugs.size() - 1) *
                      static_cast<int64_t>(experiment.variants.size()) +
                  (variant - experiment.variants.data());
      run.problem = problem;
      const RunFolder folder(run.folder);
      run.state = folder.complete()                                            ? "done"
                  : folder.has("samples.jsonl") || folder.has("measured.json") ? "begun"
                                                                               : "new";
      if (source) {
        const auto bytes = predicted_bytes(*source, variant->recipe);
        if (bytes.ok()) run.stored_bytes = *bytes;
        if (!bytes.ok()) run.problem = bytes.error().message;
        run.memory_bytes = std::max(memory_of(*source, run.stored_bytes, experiment.context),
                                    judge_memory_of(*variant));
        const Forecast::Answer answer = forecast.ask(*variant, parameters_of(*source));
        run.seconds = run.state == "done" ? 0 : answer.seconds;
        run.basis = run.state == "done" ? "it is there" : answer.basis;
      }
      plan.push_back(std::move(run));
    }
  }
  LATHE_OK(choose(options, plan));
  return plan;
}

}  // namespace lathe
