// How far a model's predictions are from a baseline's, token by token over the same text, with both
// in memory and no logits written down.
#pragma once

#include "lathe/eval/task.h"

namespace lathe {

struct DivergenceOptions {
  std::string data = "bundled";  // a text, as of the task perplexity
  int64_t window = 512;          // llama.cpp's convention: the second half of each window counts
  int64_t limit = 0;             // windows; 0: all
};

// A task named "divergence" against `base`, which must outlive it; run() takes the model that is
// compared. Both need the same tokenizer and vocabulary. Of each counted token, with p the
// baseline's and q the model's distribution:
//   kl_mean, kl_p99, kl_max   Σ p ln(p / q), nats
//   top1_agreement            the share with the same most likely token
//   p_shift, p_shift_rms      q − p of the token that follows: mean and root of the mean square
//   ppl, base_ppl, ppl_ratio  exp of the mean loss; of the difference of losses
// Intervals resample windows, that of kl_p99 too (a block bootstrap of the tokens, which are those
// of this process's run() calls). kl_max has none: no resample can exceed the largest value seen.
std::unique_ptr<Task> make_divergence(const Engine& base, DivergenceOptions options);

}  // namespace lathe
