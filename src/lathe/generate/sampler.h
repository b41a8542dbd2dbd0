// Choosing the next token from logits.
// Order of the steps, as in llama.cpp and vLLM: temperature, top-k, top-p (Holtzman et al. 2020),
// min-p (Nguyen et al. 2024), draw. Temperature 0 is greedy: the first of the largest logits.
#pragma once

#include <cstdint>
#include <span>

#include "lathe/base/result.h"
#include "lathe/base/rng.h"

namespace lathe {

struct SamplingOptions {
  double temperature = 0.0;
  int64_t top_k = 0;   // 0: off
  double top_p = 1.0;  // 1: off
  double min_p = 0.0;  // 0: off; relative to the most likely token
};

Status validate(const SamplingOptions& options);

int32_t sample(std::span<const float> logits, const SamplingOptions& options, Rng& rng);

}  // namespace lathe
