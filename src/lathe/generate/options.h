// Log-likelihoods of several continuations of the same context, as multiple choice needs them.
// The context is computed once for all its options, what contexts share with their neighbours once
// for all of these, and the contexts and options of many requests share forward passes.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "lathe/generate/engine.h"

namespace lathe {

struct OptionRequest {
  std::vector<TokenId> context;               // at least one token
  std::vector<std::vector<TokenId>> options;  // each at least one token
};

struct OptionScore {
  double log_likelihood = 0;  // Σ ln p(token | context, tokens before it)
  bool greedy = true;         // each token is the most likely one at its place
};

struct ScoreOptions {
  int64_t max_batch = 32;  // requests at once
  int64_t chunk = 512;     // tokens of one forward pass, at most
  int64_t max_kv_bytes = int64_t{1} << 30;
  bool share_prefixes = true;
};

// Called for each request, in their order. A false return stops.
using OnScored = std::function<bool(size_t index, const std::vector<OptionScore>& scores)>;

Status score_options(const Engine& engine, std::span<const OptionRequest> requests,
                     const ScoreOptions& options, const OnScored& done);

}  // namespace lathe
