// Where the time of prefill and decode goes, operation by operation.
#pragma once

#include <nlohmann/json.hpp>

#include "lathe/backend/tap_ops.h"
#include "lathe/generate/engine.h"

namespace lathe {

struct Phase {
  int64_t tokens = 0;
  double seconds = 0;        // of the forward passes and the choice of tokens
  int64_t weight_bytes = 0;  // of packed matrices, read once a pass
  // Multiply-adds count two; of the matrices, and of the attention.
  double matrix_flops = 0, attention_flops = 0;
  int64_t kv_bytes = 0;  // keys and values read, all passes together
  std::map<std::string, TimedOps::Total> by_kind, by_linear;
  std::vector<TimedOps::Event> events;
};

struct Phases {
  Phase prefill, decode;
};

// One pass over `prompt` tokens and `generated` steps of one token, after a pass to warm up.
Result<Phases> time_phases(const Engine& engine, int64_t prompt, int64_t generated);

// What such passes read and compute, without running them: the counts of Phase, no times.
Phases work_of(const Model& model, int64_t prompt, int64_t generated);

// Chrome's trace event format: open it in chrome://tracing or ui.perfetto.dev.
nlohmann::json chrome_trace(const Phases& phases);

}  // namespace lathe
