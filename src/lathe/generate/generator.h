// Batched generation: requests of unequal length share forward passes (continuous batching). A
// request enters as soon as a place is free, its prompt in chunks beside the others' next tokens.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "lathe/generate/engine.h"
#include "lathe/generate/sampler.h"

namespace lathe {

struct Request {
  std::vector<TokenId> prompt;
  int64_t max_tokens = 256;
  std::vector<std::string> stops;  // generation ends before the first of these
  bool stop_at_eos = true;
  SamplingOptions sampling;
  uint64_t seed = 0;
};

struct Completion {
  std::vector<TokenId> ids;  // generated; without EOS
  std::string text;          // up to the stop sequence
  std::string finish;        // "stop", "length", "context"
  int64_t prompt_tokens = 0;
};

struct GenerateOptions {
  int64_t max_batch = 16;  // sequences at once
  int64_t chunk = 256;     // tokens of one forward pass, at most
  int64_t max_kv_bytes = int64_t{1}
                         << 30;  // fewer sequences at once where their caches would not fit
  bool share_prefixes = true;    // what prompts begin with in common is computed once
};

// Calls `done(index, completion)` as each request ends, in the order they end. A false return
// stops.
using OnCompletion = std::function<bool(size_t index, Completion completion)>;
// Called with each new piece of text of request `index` (whole UTF-8 characters); may be empty.
using OnText = std::function<void(size_t index, std::string_view text)>;

Status generate(const Engine& engine, std::span<const Request> requests,
                const GenerateOptions& options, const OnCompletion& done,
                const OnText& on_text = {});

// One request.
Result<Completion> generate(const Engine& engine, const Request& request,
                            const OnText& on_text = {});

}  // namespace lathe
