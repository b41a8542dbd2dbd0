// Log-probabilities of given tokens: what perplexity and multiple choice are made of.
#pragma once

#include <vector>

#include "lathe/generate/engine.h"

namespace lathe {

// −ln p(ids[i] | ids[0 … i−1]) for every i in [first, ids.size()), first ≥ 1, in one pass over a
// fresh cache. Logits are taken a few rows at a time, so that memory does not grow with T × V.
Result<std::vector<double>> token_losses(const Engine& engine, std::span<const TokenId> ids,
                                         int64_t first);

}  // namespace lathe
