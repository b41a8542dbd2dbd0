// What the pruning passes share: the share of weights that goes, and N:M patterns.
#pragma once

#include "lathe/compress/column_solver.h"
#include "lathe/compress/pass.h"

namespace lathe {

// "" or "N:M": of M neighbours in a row N stay, 1 ≤ N < M ≤ 32.
Result<SparsePattern> parse_pattern(const nlohmann::json& value);
PassParameter sparsity_parameter();
PassParameter pattern_parameter();
PassParameter damping_parameter();  // of gptq and sparsegpt
// The pattern's own share of zeros: 0.5 for 2:4; 0 without a pattern.
double sparsity_of(const SparsePattern& pattern);
// What an override says, else the pass's own.
SparsePattern pattern_of(const StepTarget& target, const SparsePattern& of_pass);
// The share that is pruned must be the pattern's own.
Status check_pattern(const SparsePattern& pattern, double sparsity);

// Of each row the least scores, by `sparsity` or by the pattern: 1 in the mask. Equal scores by
// position.
std::vector<uint8_t> mask_by_row(const float* scores, int64_t rows, int64_t cols, double sparsity,
                                 const SparsePattern& pattern, ThreadPool& pool);

}  // namespace lathe
