// The exported model against its source: the same text through both.
#pragma once

#include <optional>

#include "lathe/generate/engine.h"
#include "lathe/model/checkpoint.h"

namespace lathe {

struct Verification {
  int64_t tokens = 0;
  bool equal = false;               // every logit is the same number
  double largest_difference = 0;    // max |Δlogit|
  double largest_logit = 0;         // max |logit| of the source
  double mean_kl = 0;               // KL(source ‖ exported) per position, in nats
  double top1_agreement = 0;        // share of positions with the same most likely token
  std::optional<bool> same_tokens;  // of the text; absent without a tokenizer on either side
};

// One after the other, so that memory holds one model at a time. Without a tokenizer the text is a
// fixed run of ids.
Result<Verification> verify_export(const Checkpoint& source, const Checkpoint& exported,
                                   const EngineOptions& options);

}  // namespace lathe
