#include "lathe/eval/tasks/prompt.h"

#include "lathe/eval/metrics/python_text.h"
#include "lathe/text/chat_template.h"

namespace lathe {

Result<std::string> chat_prompt(const Tokenizer& tokenizer, const std::string& prompt) {
  if (tokenizer.chat_template().empty()) {
    return bad_input("'chat' is on, but the model has no chat template")
        .with_hint("leave 'chat' off for base models");
  }
  LATHE_TRY(const ChatTemplate format, ChatTemplate::parse(tokenizer.chat_template()));
  nlohmann::json variables = nlohmann::json::object();
  variables["bos_token"] = tokenizer.bos() ? tokenizer.token_of(*tokenizer.bos()) : "";
  variables["eos_token"] = tokenizer.eos() ? tokenizer.token_of(*tokenizer.eos()) : "";
  return format.render({{"user", prompt}}, true, variables);
}

Result<std::pair<std::vector<TokenId>, std::vector<TokenId>>> encode_pair(
    const Tokenizer& tokenizer, std::string context, std::string continuation, bool special) {
  const std::u32string decoded = decode_utf8(context);
  const std::string kept = encode_utf8(python_rstrip(decoded));
  if (kept.size() < context.size()) {
    continuation = context.substr(kept.size()) + continuation;
    context.resize(kept.size());
  }
  // With `special` off the context is a rendered chat template, whose special tokens count.
  const EncodeOptions how{.add_special = special, .parse_special = !special};
  if (context.empty()) {
    const auto first = tokenizer.bos() ? tokenizer.bos() : tokenizer.eos();
    if (!first) return unsupported("an empty context needs a BOS or EOS token");
    auto ids = tokenizer.encode(continuation, {.add_special = false, .parse_special = false});
    if (ids.size() > 1 && ids[0] == *first) ids.erase(ids.begin());
    if (ids.empty()) return bad_input("a continuation has no tokens");
    return std::pair(std::vector<TokenId>{*first}, std::move(ids));
  }
  auto before = tokenizer.encode(context, how);
  const auto whole = tokenizer.encode(context + continuation, how);
  if (whole.size() <= before.size()) return bad_input("a continuation has no tokens of its own");
  std::vector<TokenId> after(whole.begin() + std::ssize(before), whole.end());
  return std::pair(std::move(before), std::move(after));
}

}  // namespace lathe
