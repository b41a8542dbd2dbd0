#include "lathe/eval/match.h"

#include <cmath>

namespace lathe {

std::optional<PerplexityMatch> nearest_perplexity(std::span<const Measurement> rows,
                                                  double figure) {
  std::optional<PerplexityMatch> best;
  if (!(figure > 0)) return best;
  for (size_t i = 0; i < rows.size(); ++i) {
    const std::string& metric = rows[i].metric;
    if (metric != "ppl" && metric != "word_ppl" && metric != "byte_ppl") continue;
    if (!(rows[i].value > 0)) continue;
    const auto closeness = [&](double value) { return std::abs(std::log(value / figure)); };
    if (!best || closeness(rows[i].value) < closeness(rows[best->row].value)) {
      best = PerplexityMatch{i, std::abs(rows[i].value / figure - 1)};
    }
  }
  return best;
}

}  // namespace lathe
