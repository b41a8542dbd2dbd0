// chrF (Popović 2015) and chrF++ (2017) as sacreBLEU computes them by default, equal in every
// digit: case:mixed|eff:yes|nc:6|nw:0|space:no, β = 2. A corpus score: statistics are summed over
// segments first, so its interval comes from resampling ChrfStats.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace lathe {

struct ChrfOptions {
  int char_order = 6;
  int word_order = 0;  // 2 makes it chrF++
  double beta = 2;
};

// For each order, characters first, then words: n-grams of the candidate, of the reference,
// matches.
struct ChrfStats {
  struct Counts {
    int64_t candidate = 0, reference = 0, matches = 0;
  };
  std::vector<Counts> orders;

  ChrfStats& operator+=(const ChrfStats& other);  // of the same options; an empty one is zero
};

// Against the first of the references that gives the segment the highest score. At least one.
ChrfStats chrf_stats(std::string_view candidate, std::span<const std::string> references,
                     const ChrfOptions& options = {});

// 0 … 100. Precision and recall are averaged over the orders that both sides have n-grams of.
double chrf_score(const ChrfStats& stats, const ChrfOptions& options = {});

// The corpus score of the chosen segments, for lathe::bootstrap.
double chrf_of_sample(std::span<const ChrfStats> segments, std::span<const int64_t> indices,
                      const ChrfOptions& options = {});

}  // namespace lathe
