// int8 with outliers: LLM.int8's decomposition of a matrix (Dettmers et al. 2022, section 3.2),
// stored. Columns that meet large inputs are kept in 16 bits, all others as codes of 8.
#pragma once

#include <span>

#include "lathe/formats/weight_matrix.h"

namespace lathe {

// `format` must be int8:row,outliers; `columns` ascending, each below `cols`. The scales of the
// rows are those of the other columns. Refuses weights that bf16 cannot hold.
Result<WeightMatrix> encode_outliers(const FormatPtr& format, const float* weights, int64_t rows,
                                     int64_t cols, std::span<const int32_t> columns,
                                     std::string_view where);
// The columns that `matrix` keeps in 16 bits.
std::vector<int32_t> outlier_columns(const WeightMatrix& matrix);

}  // namespace lathe
