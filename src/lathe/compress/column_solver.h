// Column by column through a weight matrix, each error made good by the columns still to come:
// the common core of GPTQ (Frantar et al. 2022, algorithm 1) and SparseGPT (Frantar and Alistarh
// 2023, algorithm 1).
//
// With X the calibration inputs of a linear layer and H = XᵀX + λI, the change of the later weights
// that best makes up for an error e of weight i is −e · U[i, j] / U[i, i], U being the upper
// Cholesky factor of H⁻¹. Work is in f32 on U in f64 worked out once per input.
#pragma once

#include <memory>
#include <string>

#include "lathe/base/threads.h"
#include "lathe/compress/linear_stats.h"
#include "lathe/formats/group_grid.h"

namespace lathe {

struct InverseFactor {
  int64_t size = 0;
  std::vector<float> upper;    // U [K, K], row-major, in the order below
  std::vector<int32_t> order;  // columns, in the order in which they are worked on
  double damping = 0;          // λ as a share of the mean diagonal, as it was used
};

// `damping` > 0 is raised tenfold, up to 10, while H is not positive definite in f64. With
// `act_order` columns come by falling diagonal, else as they stand. Refuses statistics that are not
// finite or all zero.
Result<InverseFactor> inverse_factor(const LinearStats& stats, double damping, bool act_order,
                                     ThreadPool& pool);

// The last factor: q, k and v (gate and up) share an input, and so one factor.
class FactorCache {
 public:
  FactorCache(double damping, bool act_order) : damping_(damping), act_order_(act_order) {}
  Result<std::shared_ptr<const InverseFactor>> of(const std::shared_ptr<const LinearStats>& stats,
                                                  ThreadPool& pool);
  double damping() const { return damping_; }

 private:
  double damping_;
  bool act_order_;
  std::weak_ptr<const LinearStats> stats_;  // that factor_ is of; kept by others, or gone
  std::shared_ptr<const InverseFactor> factor_;
};

// Exactly `keep` of each `of` neighbours in a row stay; of = 0: no pattern.
struct SparsePattern {
  int64_t keep = 0, of = 0;
};

struct SolveTask {
  const GroupGrid* grid = nullptr;  // rounds to it; null: weights stay as they are
  // Scales from the weights before any column is worked on; else from what they have become when
  // the first column of the group comes (needs the natural order).
  bool static_groups = true;
  const float* importance = nullptr;  // [K], for the choice of scales; null: the format's own
  double sparsity = 0;                // share that is pruned, of each block of columns
  SparsePattern pattern;
  int64_t block = 128;  // columns
};

struct Solution {
  std::vector<GridGroup> groups;  // rows × groups of the grid
  std::vector<uint8_t> mask;      // 1 where pruned here; empty without sparsity
};

// `weights` (rows × K) are replaced. Those with mask 1 (may be empty) become and stay 0.
Solution solve_columns(const InverseFactor& factor, const SolveTask& task,
                       const std::vector<uint8_t>& mask, int64_t rows, float* weights,
                       ThreadPool& pool);

}  // namespace lathe
