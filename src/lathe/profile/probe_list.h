// The probes that have a file of their own, and what probes share.
#pragma once

#include "lathe/profile/probe.h"

namespace lathe {

ProbeKind batch_probe();
ProbeKind roofline_probe();
ProbeKind sparsity_probe();

// One number of a probe.
Measurement probe_row(const char* task, std::string metric, double value, int64_t n,
                      const char* unit, const char* better);
// The same for the median of repetitions; `low` and `high` are the smallest and largest.
Measurement median_row(const char* task, std::string metric, const std::vector<double>& values,
                       const char* unit, const char* better);

// Ids for timing, the same for every variant of a model: any will do.
std::vector<TokenId> timing_tokens(const Model& model, int64_t length, uint64_t seed = 1);

}  // namespace lathe
