// Prefill and decode as shares of what the machine can do (Williams, Waterman and Patterson 2009,
// "Roofline").
#pragma once

#include <string>
#include <vector>

#include "lathe/backend/ceilings.h"
#include "lathe/base/measurement.h"
#include "lathe/model/model.h"

namespace lathe {

// Bytes of weights, keys and values over the time of decode; multiply-adds (counted as two) of
// matrices and attention over the time of prefill.
struct Reached {
  double decode_bytes_per_s, prefill_flops_per_s;
  int64_t decode_tokens, prefill_tokens;
};

// Rows of the task "roofline": both, and their shares of each ceiling; of f32 arithmetic that of
// the instruction set in use.
std::vector<Measurement> ceiling_rows(const Reached& reached, const Ceilings& ceilings,
                                      const std::string& isa);

// The same from the speeds that the probe latency measured for `prompt` and `generated` tokens; no
// rows where they are not among `latency`.
std::vector<Measurement> latency_ceiling_rows(const Model& model, int64_t prompt, int64_t generated,
                                              const std::vector<Measurement>& latency,
                                              const Ceilings& ceilings, const std::string& isa);

}  // namespace lathe
