#include "lathe/profile/probe.h"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <limits>

#include "lathe/base/memory.h"
#include "lathe/base/suggest.h"
#include "lathe/generate/sampler.h"
#include "lathe/model/forward.h"
#include "lathe/profile/energy.h"
#include "lathe/profile/probe_list.h"

namespace lathe {
namespace {

using Clock = std::chrono::steady_clock;

double milliseconds_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

double percentile(std::vector<double> values, double q) {
  std::sort(values.begin(), values.end());
  const double at = q * static_cast<double>(values.size() - 1);
  const auto low = static_cast<size_t>(at);
  const size_t high = std::min(low + 1, values.size() - 1);
  return values[low] + (at - static_cast<double>(low)) * (values[high] - values[low]);
}

struct Timing {
  double ttft_ms, prefill_ms;
  std::vector<double> between_ms;
  double prefill_joules, decode_joules;  // where the meter knows them
};

Result<Timing> time_once(const Engine& engine, int64_t prompt, int64_t generated,
                         EnergyMeter& meter) {
  const Model& model = *engine.model;
  LATHE_TRY(KvCache cache, KvCache::create(model.kv_shape(), prompt + generated));
  const std::vector<TokenId> ids = timing_tokens(model, prompt);
  Rng rng(0);
  const auto draw = [&](const Tensor& out) {
    return sample({out.data(), static_cast<size_t>(out.cols())}, {}, rng);
  };
  Timing timing{};
  meter.restart();
  auto start = Clock::now();
  Batch batch;
  batch.add(cache, ids, false);
  Tensor out = forward(model, *engine.ops, batch);
  timing.prefill_ms = milliseconds_since(start);
  TokenId next = draw(out);
  timing.ttft_ms = milliseconds_since(start);
  timing.prefill_joules = meter.joules();
  meter.restart();
  for (int64_t i = 1; i < generated; ++i) {
    start = Clock::now();
    Batch step;
    step.add(cache, std::span(&next, 1), false);
    out = forward(model, *engine.ops, step);
    next = draw(out);
    timing.between_ms.push_back(milliseconds_since(start));
    meter.keep_up();
  }
  timing.decode_joules = meter.joules();
  return timing;
}

// The energy of a token, or a row without a value that says why there is none.
Measurement energy_row(const EnergyMeter& meter, const char* metric,
                       const std::vector<double>& joules) {
  if (meter.unknown().empty()) {
    Measurement m = median_row("latency", metric, joules, "J", "lower");
    m.extra["zones"] = meter.zones();
    return m;
  }
  Measurement m =
      probe_row("latency", metric, std::numeric_limits<double>::quiet_NaN(), 0, "J", "lower");
  m.extra["unknown"] = meter.unknown();
  return m;
}

Result<std::vector<Measurement>> run_latency(const ProbeContext& context, const nlohmann::json& p) {
  const auto prompt = p["prompt"].get<int64_t>(), generated = p["generate"].get<int64_t>();
  const auto repetitions = p["repetitions"].get<int64_t>();
  if (prompt < 1 || generated < 2 || repetitions < 1) {
    return bad_input("probe 'latency': prompt ≥ 1, generate ≥ 2 and repetitions ≥ 1 are needed");
  }
  const int64_t most = context.engine.model->context;
  if (prompt > most || generated > most || prompt + generated > most) {
    return bad_input("probe 'latency': {} + {} tokens do not fit the context of {}", prompt,
                     generated, context.engine.model->context);
  }
  std::vector<double> ttft, prefill, decode, all_between, prompt_joules, joules;
  EnergyMeter meter(powercap_tree());
  for (int64_t i = -p["warm_up"].get<int64_t>(); i < repetitions; ++i) {
    LATHE_TRY(const Timing t, time_once(context.engine, prompt, generated, meter));
    if (i < 0) continue;
    ttft.push_back(t.ttft_ms);
    prefill.push_back(1e3 * static_cast<double>(prompt) / t.prefill_ms);
    double total = 0;
    for (const double ms : t.between_ms) total += ms;
    decode.push_back(1e3 * static_cast<double>(t.between_ms.size()) / total);
    prompt_joules.push_back(t.prefill_joules / static_cast<double>(prompt));
    joules.push_back(t.decode_joules / static_cast<double>(t.between_ms.size()));
    all_between.insert(all_between.end(), t.between_ms.begin(), t.between_ms.end());
  }
  const auto steps = static_cast<int64_t>(all_between.size());
  std::vector<Measurement> rows = {
      median_row("latency", "decode_tokens_per_s", decode, "tok/s", "higher"),
      median_row("latency", "prefill_tokens_per_s", prefill, "tok/s", "higher"),
      median_row("latency", "ttft_ms", ttft, "ms", "lower"),
      probe_row("latency", "itl_ms_p50", percentile(all_between, 0.5), steps, "ms", "lower"),
      probe_row("latency", "itl_ms_p90", percentile(all_between, 0.9), steps, "ms", "lower"),
      probe_row("latency", "itl_ms_p99", percentile(all_between, 0.99), steps, "ms", "lower"),
      energy_row(meter, "joules_per_token", joules),
      energy_row(meter, "joules_per_prompt_token", prompt_joules)};
  for (Measurement& m : rows) {
    m.extra["prompt_tokens"] = prompt;
    m.extra["generated_tokens"] = generated;
  }
  return rows;
}

Result<std::vector<Measurement>> run_size(const ProbeContext& context, const nlohmann::json&) {
  const Model& model = *context.engine.model;
  double disk = 0;
  for (const std::string& file : context.checkpoint.weight_files()) {
    std::error_code error;
    disk += static_cast<double>(std::filesystem::file_size(file, error));
    if (error) return failed("{}: {}", file, error.message());
  }
  const auto stored = static_cast<double>(model.stored_bytes);
  return std::vector<Measurement>{
      probe_row("size", "disk_bytes", disk, 1, "bytes", "lower"),
      probe_row("size", "weights_bytes", static_cast<double>(model.weights_bytes), 1, "bytes",
                "lower"),
      probe_row("size", "bits_per_weight", 8 * stored / static_cast<double>(model.parameters), 1,
                "bits", "lower")};
}

Result<std::vector<Measurement>> run_memory(const ProbeContext& context, const nlohmann::json&) {
  const auto weights = static_cast<double>(context.engine.model->weights_bytes);
  const auto kv = static_cast<double>(KvCache::peak_bytes());
  const auto activations = static_cast<double>(Tensor::peak_bytes());
  return std::vector<Measurement>{
      probe_row("memory", "peak_engine_bytes", weights + kv + activations, 1, "bytes", "lower"),
      probe_row("memory", "kv_bytes", kv, 1, "bytes", "lower"),
      probe_row("memory", "peak_rss_bytes", static_cast<double>(peak_rss_bytes()), 1, "bytes",
                "lower")};
}

const ProbeKind* find_kind(const std::string& name) {
  for (const ProbeKind& kind : probe_kinds()) {
    if (kind.name == name) return &kind;
  }
  return nullptr;
}

}  // namespace

Measurement probe_row(const char* task, std::string metric, double value, int64_t n,
                      const char* unit, const char* better) {
  Measurement m;
  m.task = task;
  m.metric = std::move(metric);
  m.value = value;
  m.n = n;
  m.unit = unit;
  m.better = better;
  return m;
}

Measurement median_row(const char* task, std::string metric, const std::vector<double>& values,
                       const char* unit, const char* better) {
  Measurement m = probe_row(task, std::move(metric), percentile(values, 0.5),
                            static_cast<int64_t>(values.size()), unit, better);
  m.low = *std::min_element(values.begin(), values.end());
  m.high = *std::max_element(values.begin(), values.end());
  return m;
}

std::vector<TokenId> timing_tokens(const Model& model, int64_t length, uint64_t seed) {
  std::vector<TokenId> ids;
  Rng rng(seed);
  for (int64_t i = 0; i < length; ++i) {
    ids.push_back(static_cast<TokenId>(rng.below(static_cast<uint64_t>(model.config.vocab))));
  }
  return ids;
}

const std::vector<ProbeKind>& probe_kinds() {
  static const std::vector<ProbeKind> kinds = {
      {"size", "bytes on disk and in memory, bits per weight", nlohmann::json::object(), run_size},
      {"latency",
       "time to first token, prefill and decode speed, time between tokens, energy of a token",
       {{"prompt", 128}, {"generate", 64}, {"repetitions", 5}, {"warm_up", 1}},
       run_latency},
      batch_probe(),
      {"memory", "the engine's own accounting and the peak of the process",
       nlohmann::json::object(), run_memory},
      sparsity_probe(),
      roofline_probe()};
  return kinds;
}

Result<nlohmann::json> probe_parameters(const std::string& name, const nlohmann::json& parameters) {
  const ProbeKind* kind = find_kind(name);
  if (!kind) {
    std::vector<std::string> names;
    for (const ProbeKind& k : probe_kinds()) names.push_back(k.name);
    return bad_input("unknown probe '{}'", name).with_hint(suggest(name, names));
  }
  nlohmann::json merged = kind->defaults;
  std::vector<std::string> keys;
  for (const auto& [key, value] : kind->defaults.items()) keys.push_back(key);
  for (const auto& [key, value] : parameters.items()) {
    if (!merged.contains(key)) {
      return bad_input("probe '{}': unknown parameter '{}'", name, key)
          .with_hint(suggest(key, keys));
    }
    if (!value.is_number_integer() || value.get<double>() < 0 || value.get<double>() > 1e15) {
      return bad_input("probe '{}': parameter '{}' must be a whole number, found {}", name, key,
                       value.dump());
    }
    merged[key] = value;
  }
  return merged;
}

Result<std::vector<Measurement>> run_probe(const std::string& name, const ProbeContext& context,
                                           const nlohmann::json& parameters) {
  LATHE_TRY(const nlohmann::json merged, probe_parameters(name, parameters));
  return find_kind(name)->run(context, merged);
}

}  // namespace lathe
