// Sparse layouts: the codes of a dense format without those that stand for 0, and which ones they
// are. Everything else (scales, tables) is as the dense format has it, so that a sparse matrix
// decodes to the same bits as the dense one.
#pragma once

#include "lathe/formats/weight_matrix.h"

namespace lathe {

// The format whose codes `format` holds; the format itself where that is not sparse.
FormatPtr dense_format(const FormatPtr& format);
// Of the codes, wherever they lie.
inline Encoding code_encoding(const FormatPtr& format) { return dense_format(format)->encoding(); }
// "2:4" or "4:8" where the format holds no more of neighbours in a row than that; else empty.
std::string fixed_pattern(const Format& format);
// The same matrix in that format.
WeightMatrix to_dense(const WeightMatrix& matrix);
// `dense` in the sparse format that is made of its own format; refuses what an N:M layout has no
// room for.
Result<WeightMatrix> to_sparse(const FormatPtr& format, const WeightMatrix& dense,
                               std::string_view where);

}  // namespace lathe
