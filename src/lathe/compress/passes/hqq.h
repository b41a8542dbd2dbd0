// The half-quadratic solver of HQQ for one group.
#pragma once

#include "lathe/formats/group_grid.h"

namespace lathe {

// Badri and Shaji 2023, "Half-Quadratic Quantization of Large Machine Learning Models": the zero
// point that makes Σ |w − ŵ|^0.7 small, by turns with the part of the error that is left to
// outliers. The scale stays that of the range. The paper's p, β = 10 and κ = 1.01, 20 steps; each
// group stops by itself where the reference stops for the matrix as a whole. The grid must have
// offsets.
GridGroup hqq_fit(const GroupGrid& grid, const float* x, int64_t count);

}  // namespace lathe
