#include "lathe/text/bpe_schemes.h"

#include "lathe/text/pre_tokenizers.h"

namespace lathe::text {
namespace {

constexpr const char* kContractions = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
constexpr const char* kWords = R"([^\r\n\p{L}\p{N}]?\p{L}+)";
constexpr const char* kRest = R"( ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
// Words that change case in the middle: "camelCase" is two.
constexpr const char* kHead =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+)";
constexpr const char* kTail =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*)";
constexpr const char* kCasedRest = R"( ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

struct Named {
  std::vector<std::string> names;
  BpeScheme scheme;
};

const std::vector<Named>& schemes() {
  const auto with_numbers = [](const char* numbers) {
    return std::string(kContractions) + "|" + kWords + "|" + numbers + "|" + kRest;
  };
  static const std::vector<Named> all = {
      {{"gpt-2", "phi-2", "mpt", "olmo"}, {{kGpt2Pattern}}},
      {{"default"}, {{R"([\p{P}\$\+<=>\^~\|]+)", kGpt2Pattern, R"(\p{N}+)", "[0-9][0-9][0-9]"}}},
      {{"qwen2", "deepseek-r1-qwen", "stablelm2", "megrez"},
       {{with_numbers(R"(\p{N})")}, false, true}},
      {{"llama-bpe", "llama3", "llama-v3", "falcon3", "pixtral"},
       {{with_numbers(R"(\p{N}{1,3})")}, true, false, true}},
      {{"dbrx", "smaug-bpe"}, {{with_numbers(R"(\p{N}{1,3})")}}},
      {{"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone"},
       {{R"(\p{N})", kGpt2Pattern}}},
      {{"tekken"},
       {{std::string(kHead) + "|" + kTail + "|" + R"(\p{N}|)" + kCasedRest}, true, false, true}},
      {{"gpt-4o"},
       {{std::string(kHead) + kContractions + "?|" + kTail + kContractions + R"(?|\p{N}{1,3}|)" +
         kCasedRest}}},
  };
  return all;
}

}  // namespace

const BpeScheme* find_bpe_scheme(std::string_view name) {
  for (const Named& named : schemes())
    for (const std::string& n : named.names)
      if (n == name) return &named.scheme;
  return nullptr;
}

std::vector<std::string> bpe_scheme_names() {
  std::vector<std::string> names;
  for (const Named& named : schemes())
    names.insert(names.end(), named.names.begin(), named.names.end());
  return names;
}

}  // namespace lathe::text
