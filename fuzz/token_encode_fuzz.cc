// SPDX-License-Identifier: Apache-2.0
// Any text through fixed tokenizers: byte-level BPE gives back what valid UTF-8 went in, and a long
// word is merged as a short one (the two algorithms agree).

// Links: lathe_text

#include "fuzz_support.h"
#include "lathe/base/check.h"
#include "lathe/text/byte_level.h"
#include "lathe/text/pipeline.h"
#include "lathe/text/unicode.h"

using namespace lathe;

namespace {

std::shared_ptr<const Tokenizer> make(const char* pre_tokenizer) {
  nlohmann::json vocab = nlohmann::json::object(), merges = nlohmann::json::array();
  for (int b = 0; b < 256; ++b)
    vocab[text::bytes_to_alphabet(std::string(1, static_cast<char>(b)))] = b;
  const char* pairs[][2] = {
      {"a", "a"}, {"aa", "aa"}, {"t", "h"},   {"th", "e"},         {"aa", "a"},
      {"b", "a"}, {"a", "b"},   {"ab", "ab"}, {"\xc4\xa0", "the"}, {"\xc4\xa0", "\xc4\xa0"}};
  for (const auto& [left, right] : pairs) {
    const std::string joined = std::string(left) + right;
    if (!vocab.contains(joined)) vocab[joined] = vocab.size();
    merges.push_back({left, right});
  }
  const nlohmann::json file = {{"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", merges}}},
                               {"pre_tokenizer", nlohmann::json::parse(pre_tokenizer)},
                               {"decoder", {{"type", "ByteLevel"}}},
                               {"added_tokens",
                                {{{"id", 1000}, {"content", "<s>"}, {"special", true}},
                                 {{"id", 1001}, {"content", "<b>"}, {"special", false}}}}};
  auto parts = text::parse_tokenizer_json(file.dump());
  LATHE_CHECK(parts.ok());
  return text::make_tokenizer(std::move(*parts));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const auto gpt2 = make(R"({"type": "ByteLevel", "add_prefix_space": false})");
  static const auto llama3 = make(
      R"({"type": "Sequence", "pretokenizers": [{"type": "Split", "behavior": "Isolated", "pattern":
      {"Regex": "(?i:'s|'t)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"}},
      {"type": "ByteLevel", "add_prefix_space": false, "use_regex": false}]})");
  static const auto whole =
      make(R"({"type": "ByteLevel", "add_prefix_space": false, "use_regex": false})");
  const std::string_view input = fuzz_text(data, size);
  std::string storage;
  const std::string_view valid = text::valid_utf8(input, storage);
  for (const auto* tokenizer : {&gpt2, &llama3, &whole}) {
    for (const bool special : {false, true}) {
      const auto ids = (*tokenizer)->encode(input, {.parse_special = special});
      LATHE_CHECK((*tokenizer)->decode(ids, false) == valid);
    }
  }
  return 0;
}
