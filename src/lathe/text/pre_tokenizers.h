// Pre-tokenizers of tokenizer.json: they cut normalized text into the words that the model sees.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "lathe/base/result.h"
#include "lathe/text/json_fields.h"
#include "lathe/text/regex.h"

namespace lathe::text {

// The words of one stretch of text: views of it, or of strings made on the way.
struct Words {
  std::vector<std::string_view> words;
  bool at_start = true;  // whether words[0] begins where the whole input begins
  // The words are raw bytes of which each stands for one character of the byte-level alphabet.
  bool byte_level = false;
  std::deque<std::string> arena;
};

class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  virtual void apply(Words& words) const = 0;  // leaves no empty word
};

Result<std::unique_ptr<PreTokenizer>> make_pre_tokenizer(const Json& spec);

// For vocabularies whose files name no pre-tokenizer: cut at each match of the patterns in turn,
// then the byte-level alphabet.
Result<std::unique_ptr<PreTokenizer>> make_byte_level(const std::vector<std::string>& patterns,
                                                      bool add_prefix_space);
// The pattern of GPT-2.
extern const char* const kGpt2Pattern;

enum class SplitBehavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };

// The pieces of `text` after cutting at `matches` (ascending, not overlapping); `invert` cuts at
// what lies between them.
void split(std::string_view text, const std::vector<Range>& matches, SplitBehavior behavior,
           bool invert, std::vector<std::string_view>& out);

}  // namespace lathe::text
