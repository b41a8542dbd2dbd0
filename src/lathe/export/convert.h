// From one number format to another, with proof of what it did to the weights.
#pragma once

#include "lathe/base/threads.h"
#include "lathe/formats/weight_matrix.h"

namespace lathe {

struct Converted {
  WeightMatrix matrix;
  bool exact = true;          // every weight decodes to the same number
  double largest_change = 0;  // max |Δw| / max |w|
};

// True when the matrix can go into Q4_0 without a change: symmetric 4-bit codes, F16 scales, groups
// that are whole blocks of 32.
bool is_q4_0(const WeightMatrix& matrix);

// The same format: the same bytes. Q4_0 of what is_q4_0(): bits are moved. Else encoded anew, and
// compared weight by weight.
Result<Converted> convert(const WeightMatrix& source, const FormatPtr& target,
                          std::string_view where, ThreadPool& pool);

}  // namespace lathe
