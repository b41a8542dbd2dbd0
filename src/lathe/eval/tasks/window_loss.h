// The loss of one window of a perplexity convention.
#pragma once

#include <vector>

#include "lathe/eval/metrics/perplexity.h"
#include "lathe/generate/engine.h"

namespace lathe {

// The tokens that the model is fed for a window, BOS (EOS where there is none) included, and in
// `first` the first of them whose loss counts.
Result<std::vector<TokenId>> window_tokens(const Engine& engine, const std::vector<TokenId>& tokens,
                                           const TokenWindow& window, int64_t& first);
// Summed over what the window counts, in nats.
Result<double> window_loss(const Engine& engine, const std::vector<TokenId>& tokens,
                           const TokenWindow& window);

}  // namespace lathe
