#include "lathe/profile/phases.h"

#include <chrono>

#include "lathe/generate/sampler.h"
#include "lathe/model/forward.h"
#include "lathe/profile/probe_list.h"

namespace lathe {
namespace {

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Query-key pairs that a causal pass over [start, start + rows) computes in a layer.
double pairs_of(int64_t start, int64_t rows, int64_t window) {
  double pairs = 0;
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t seen = start + r + 1;
    pairs += static_cast<double>(window > 0 ? std::min(window, seen) : seen);
  }
  return pairs;
}

// One pass of `rows` tokens behind `start` others.
void count_pass(const Model& model, Phase& phase, int64_t start, int64_t rows) {
  const ModelConfig& c = model.config;
  const auto matrix = [&](const Linear& w, int64_t tokens) {
    if (w.empty()) return;
    phase.weight_bytes += w.weight->bytes();
    phase.matrix_flops += 2.0 * static_cast<double>(w.weight->rows() * w.weight->cols()) *
                          static_cast<double>(tokens);
  };
  KvShape one_layer = model.kv_shape();
  one_layer.layers = 1;
  for (size_t i = 0; i < model.layers.size(); ++i) {
    const Layer& layer = model.layers[i];
    for (const Linear* w :
         {&layer.q, &layer.k, &layer.v, &layer.o, &layer.gate, &layer.up, &layer.down}) {
      matrix(*w, rows);
    }
    const int64_t window = c.window_of(static_cast<int64_t>(i));
    phase.attention_flops +=
        4.0 * static_cast<double>(c.heads * c.head_size) * pairs_of(start, rows, window);
    const int64_t seen = window > 0 ? std::min(start + rows, window + rows - 1) : start + rows;
    phase.kv_bytes += KvCache::bytes_for(one_layer, seen);
  }
  matrix(model.head, 1);
}

class Timer {
 public:
  explicit Timer(const Engine& engine) : model_(*engine.model), ops_(*engine.ops) {
    ops_.record_events();
  }

  // Runs `tokens` through; gives the next one.
  TokenId step(Phase& phase, KvCache& cache, std::span<const TokenId> tokens) {
    const auto start = std::chrono::steady_clock::now();
    count_pass(model_, phase, cache.length(), static_cast<int64_t>(tokens.size()));
    Batch batch;
    batch.add(cache, tokens, false);
    const Tensor out = forward(model_, ops_, batch);
    const TokenId next = sample({out.data(), static_cast<size_t>(out.cols())}, {}, rng_);
    phase.seconds += seconds_since(start);
    phase.tokens += static_cast<int64_t>(tokens.size());
    return next;
  }

  void take(Phase& phase) {
    phase.by_kind = ops_.by_kind();
    phase.by_linear = ops_.by_linear();
    phase.events = ops_.events();
    ops_.clear();
  }

 private:
  const Model& model_;
  TimedOps ops_;
  Rng rng_{0};
};

}  // namespace

Result<Phases> time_phases(const Engine& engine, int64_t prompt, int64_t generated) {
  const Model& model = *engine.model;
  if (prompt < 1 || generated < 1) return bad_input("prompt ≥ 1 and generate ≥ 1 are needed");
  if (prompt + generated > model.context) {
    return bad_input("{} + {} tokens do not fit the context of {}", prompt, generated,
                     model.context);
  }
  const std::vector<TokenId> ids = timing_tokens(model, prompt);
  Timer timer(engine);
  Phases phases;
  for (const bool counts : {false, true}) {
    LATHE_TRY(KvCache cache, KvCache::create(model.kv_shape(), prompt + generated));
    phases = {};
    TokenId next = timer.step(phases.prefill, cache, ids);
    timer.take(phases.prefill);
    for (int64_t i = 0; i < (counts ? generated : 1); ++i) {
      next = timer.step(phases.decode, cache, std::span(&next, 1));
    }
    timer.take(phases.decode);
  }
  return phases;
}

Phases work_of(const Model& model, int64_t prompt, int64_t generated) {
  Phases work;
  count_pass(model, work.prefill, 0, prompt);
  work.prefill.tokens = prompt;
  for (int64_t i = 0; i < generated; ++i) count_pass(model, work.decode, prompt + i, 1);
  work.decode.tokens = generated;
  return work;
}

nlohmann::json chrome_trace(const Phases& phases) {
  nlohmann::json events = nlohmann::json::array();
  double offset = 0;
  for (const auto& [name, phase] :
       {std::pair<const char*, const Phase*>{"prefill", &phases.prefill},
        {"decode", &phases.decode}}) {
    double end = 0;
    for (const TimedOps::Event& e : phase->events) {
      events.push_back({{"name", e.name},
                        {"cat", e.kind},
                        {"ph", "X"},
                        {"ts", offset + e.start_us},
                        {"dur", e.duration_us},
                        {"pid", 1},
                        {"tid", 1},
                        {"args", {{"phase", name}, {"tokens", e.tokens}}}});
      end = std::max(end, e.start_us + e.duration_us);
    }
    offset += end;
  }
  return {{"traceEvents", events}, {"displayTimeUnit", "ms"}};
}

}  // namespace lathe
