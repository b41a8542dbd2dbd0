// BLEU (Papineni et al. 2002) as sacreBLEU computes it by default, equal in every digit:
// case:mixed|eff:no|tok:13a|smooth:exp. A corpus score: the counts of all segments are summed
// first, so its interval comes from resampling BleuStats, not from a mean.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace lathe {

inline constexpr int kBleuOrder = 4;

// The tokens of mteval-v13a, as UTF-8, separated by single spaces.
std::string bleu_tokenize_13a(std::string_view line);

// Counts of one segment; those of several add up.
struct BleuStats {
  int64_t candidate_length = 0, reference_length = 0;   // tokens
  std::array<int64_t, kBleuOrder> matches{}, totals{};  // n-grams of order i + 1

  BleuStats& operator+=(const BleuStats& other);
};

// The reference length is that of the reference nearest in length (the shorter one of two as near);
// an n-gram may match as often as the reference that has it most often. At least one reference.
BleuStats bleu_stats(std::string_view candidate, std::span<const std::string> references);

struct BleuScore {
  double bleu = 0;                              // 0 … 100
  std::array<double, kBleuOrder> precisions{};  // percent, smoothed
  double brevity_penalty = 0;
};

BleuScore bleu_score(const BleuStats& stats);

// The corpus score of the chosen segments, for lathe::bootstrap.
double bleu_of_sample(std::span<const BleuStats> segments, std::span<const int64_t> indices);

}  // namespace lathe
