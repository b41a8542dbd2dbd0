// Times of single matrices in a decoding step.
#pragma once

#include "lathe/lab/analysis.h"

namespace lathe {

// Measures what `analysis` lacks for `pool`'s number of threads, and appends it to its files. Every
// shape in every candidate that some row has: random weights, as many copies as the model has bytes
// for (at most 64, or 256 MB), one after another, so that they come from where the model's would;
// the median of seven rounds. What else a step does is the step's own time less its matrices'.
Status measure_times(const Checkpoint& source, Analysis& analysis, ThreadPool& pool);

}  // namespace lathe
