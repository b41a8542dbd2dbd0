// TER, translation edit rate (Snover et al. 2006), as sacreBLEU computes it by default, equal in
// every digit: case:lc|tok:tercom|norm:no|punct:yes|asian:no. A corpus score: edits and reference
// lengths are summed over segments first.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace lathe {

struct TerStats {
  // Insertions, deletions, substitutions and shifts of word runs, to the reference that needs
  // fewest. The search is Tercom's: greedy over shifts, edit distance within a beam.
  int64_t edits = 0;
  double reference_length = 0;  // words, the mean over the references
};

// At least one reference.
TerStats ter_stats(std::string_view candidate, std::span<const std::string> references);

// 0 or more, in percent; 100 where there are edits but no reference words.
double ter_score(double edits, double reference_length);

}  // namespace lathe
