// Prompts as the model sees them.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "lathe/base/result.h"
#include "lathe/text/tokenizer.h"

namespace lathe {

// The prompt as one user message in the model's chat template, up to where the model answers.
Result<std::string> chat_prompt(const Tokenizer& tokenizer, const std::string& prompt);

// A context and its continuation as token ids, split as lm-evaluation-harness splits them: white
// space at the context's end goes to the continuation, both are encoded together, and the
// continuation is what follows the context's own number of tokens. An empty context becomes BOS
// (EOS where there is none). `special`: the tokenizer's own BOS is added.
Result<std::pair<std::vector<TokenId>, std::vector<TokenId>>> encode_pair(
    const Tokenizer& tokenizer, std::string context, std::string continuation, bool special);

}  // namespace lathe
