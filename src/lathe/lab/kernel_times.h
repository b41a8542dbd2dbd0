// Times of single matrices in a decoding step, and of whole steps.
#pragma once

#include "lathe/generate/engine.h"
#include "lathe/lab/analysis.h"

namespace lathe {

// Measures what `analysis` lacks for `pool`'s number of threads, and appends it to its files.
//
// The speed of a machine drifts, with what else it does and with its heat. So nothing but ratios of
// what was timed in the same round is used, the median over nine rounds: first every shape as the
// source stores it against a whole decoding step of the source, then every candidate of a shape
// against that shape as the source stores it. The median step gives the seconds. What a step does
// besides its matrices is the step less their sum.
//
// A kernel goes over as many copies as the model has bytes for (at most 64, or 128 MB), so that the
// weights come from where the model's would. They are the weights of a matrix of the shape, pruned
// by size and rounded to nearest.
Status measure_times(const Checkpoint& source, Analysis& analysis, ThreadPool& pool);

// Seconds of one decoding step: 63 of them after a prompt of 32 tokens.
Result<double> step_seconds(const Engine& engine, const Checkpoint& checkpoint);

double median_of(std::vector<double> values);  // at least one

}  // namespace lathe
