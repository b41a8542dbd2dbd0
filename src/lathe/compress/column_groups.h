// Taking columns out of a matrix for good, in groups (a channel; the heads that share a key and
// value head): which can go at the least cost, and what the others must become to make up for them.
#pragma once

#include <vector>

#include "lathe/base/threads.h"
#include "lathe/compress/linear_stats.h"

namespace lathe {

// Mean over the tokens of |x_g · W_gᵀ|², what a group of `size` neighbouring columns adds to the
// output by itself (for one column that is Wanda's score, squared and summed over the rows).
std::vector<double> group_energy(const LinearStats& stats, const std::vector<float>& weights,
                                 int64_t size);
// The `count` groups with the most, ascending; of equal ones the first.
std::vector<int64_t> strongest(const std::vector<double>& energy, int64_t count);

// The kept columns of `weights` (rows × K), refitted by least squares so that the output without
// the others changes least: W_S + W_R · G_RS · (G_SS + λI)⁻¹, G being XᵀX. Columns of weights 0
// that go change nothing. `damping` as in inverse_factor(). Where no kept column was ever active
// they stay as they are.
Result<std::vector<float>> refit_columns(const LinearStats& stats,
                                         const std::vector<float>& weights,
                                         const std::vector<int64_t>& kept, double damping,
                                         ThreadPool& pool);

}  // namespace lathe
