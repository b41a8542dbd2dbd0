// What a text looks like, without a reference: how much it repeats itself, how varied and how long
// it is. Words are runs without white space (Python's str.split()), case kept.
#pragma once

#include <cstdint>
#include <string_view>

namespace lathe {

struct TextStatistics {
  int64_t words = 0, characters = 0;  // code points
  // Different n-grams / n-grams, within one text (Li et al. 2016 count over a whole corpus); 1 for
  // a text without n-grams.
  double distinct_1 = 1, distinct_2 = 1;
  // 1 − different / all 4-grams: "seq-rep-4" (Welleck et al. 2020).
  double repeated_4 = 0;
  double entropy = 0;  // of the distribution of words, in bits
};

TextStatistics text_statistics(std::string_view text);

}  // namespace lathe
