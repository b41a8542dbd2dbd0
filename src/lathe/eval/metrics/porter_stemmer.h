// The Porter stemmer (Porter 1980, "An algorithm for suffix stripping") with the extensions of
// NLTK's default mode, which rouge-score uses: a table of irregular forms, "ies" and "ied" after
// one letter, y → i only after a consonant, "alli" before the rest of step 2, "bli", "fulli",
// "logi".
#pragma once

#include <string>
#include <string_view>

namespace lathe {

// `word` is in lower case; letters other than a-z, and digits, count as consonants.
std::string porter_stem(std::string_view word);

}  // namespace lathe
