// How byte-level vocabularies cut text into words when their files give only a name: the `pre` of
// GGUF files, or the tokenizer class of vocab.json + merges.txt.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace lathe::text {

struct BpeScheme {
  std::vector<std::string> patterns;  // applied in turn, each match is a word
  bool ignore_merges = false;
  bool nfc = false;       // the model's own tokenizer normalizes to NFC
  bool adds_bos = false;  // unless the file says otherwise
};

// nullptr for an unknown name.
const BpeScheme* find_bpe_scheme(std::string_view name);
std::vector<std::string> bpe_scheme_names();

}  // namespace lathe::text
