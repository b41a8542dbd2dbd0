// What the passes share that choose a scale for every group and then round to nearest.
#pragma once

#include <functional>

#include "lathe/compress/pass.h"
#include "lathe/formats/group_grid.h"

namespace lathe {

// Floats, which are only rounded to, and what GroupGrid takes.
Status supports_groups(const FormatPtr& format, int64_t rows, int64_t cols);

// `fit` gets the weights of one group and the columns that they stand in.
Status round_groups(WorkMatrix& matrix, const FormatPtr& format, ThreadPool& pool,
                    const std::function<GridGroup(const GroupGrid& grid, const float* x,
                                                  int64_t begin, int64_t count)>& fit);

}  // namespace lathe
