// Which of several perplexities a published figure is: the row nearest to it.
#pragma once

#include <optional>
#include <span>

#include "lathe/base/measurement.h"

namespace lathe {

struct PerplexityMatch {
  size_t row;
  double distance;  // |value / figure − 1|
};

// Among the rows that are perplexities (ppl, word_ppl, byte_ppl), the one nearest by ratio. Nothing
// where there is none, or `figure` is not above 0.
std::optional<PerplexityMatch> nearest_perplexity(std::span<const Measurement> rows, double figure);

}  // namespace lathe
