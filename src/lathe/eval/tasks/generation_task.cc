#include "lathe/eval/tasks/generation_task.h"

#include "lathe/base/hash.h"
#include "lathe/text/chat_template.h"

namespace lathe {

std::string fill_template(const std::string& text,
                          const std::map<std::string, std::string>& values) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const size_t open = text.find('{', at), close = text.find('}', open);
    if (close == std::string::npos) return out + text.substr(at);
    const auto it = values.find(text.substr(open + 1, close - open - 1));
    out += text.substr(at, open - at);
    if (it != values.end()) {
      out += it->second;
      at = close + 1;
    } else {
      out += '{';
      at = open + 1;
    }
  }
  return out;
}

Status GenerationTask::encode(const Engine& engine, Item& item) {
  const Tokenizer& tokenizer = *engine.tokenizer;
  const bool chat = parameters_["chat"].get<bool>();
  std::string prompt = item.prompt;
  if (chat) {
    if (tokenizer.chat_template().empty()) {
      return bad_input("task '{}': 'chat' is on, but the model has no chat template", name_)
          .with_hint("leave 'chat' off for base models");
    }
    LATHE_TRY(const ChatTemplate format, ChatTemplate::parse(tokenizer.chat_template()));
    nlohmann::json variables = nlohmann::json::object();
    variables["bos_token"] = tokenizer.bos() ? tokenizer.token_of(*tokenizer.bos()) : "";
    variables["eos_token"] = tokenizer.eos() ? tokenizer.token_of(*tokenizer.eos()) : "";
    LATHE_TRY(prompt, format.render({{"user", item.prompt}}, true, variables));
  }
  Request& request = item.request;
  // A rendered chat template already holds the special tokens. Data sets hold text, not special
  // tokens.
  request.prompt = tokenizer.encode(prompt, {.add_special = !chat, .parse_special = chat});
  request.max_tokens = integer("max_tokens");
  request.stops = stops();
  // Room for the answer is made by dropping the beginning of the prompt, BOS excepted, as the usual
  // harnesses do; preflight says how often.
  const int64_t room = engine.model->context - request.max_tokens;
  const auto length = static_cast<int64_t>(request.prompt.size());
  if (room < 16) {
    return bad_input("task '{}': {} generated tokens leave no room in a context of {}", name_,
                     request.max_tokens, engine.model->context);
  }
  if (length > room) {
    const int64_t kept_bos = tokenizer.adds_bos() && !chat ? 1 : 0;
    request.prompt.erase(request.prompt.begin() + kept_bos,
                         request.prompt.begin() + kept_bos + (length - room));
    ++truncated_;
  }
  return {};
}

Status GenerationTask::prepare(const Engine& engine) {
  LATHE_TRY(items_, load());
  truncated_ = 0;
  Sha256 hash;
  int64_t longest = 0;
  for (Item& item : items_) {
    LATHE_OK(encode(engine, item));
    longest = std::max(longest, static_cast<int64_t>(item.request.prompt.size()));
    hash.update({reinterpret_cast<const uint8_t*>(item.request.prompt.data()),
                 item.request.prompt.size() * sizeof(TokenId)});
  }
  const Tokenizer& tokenizer = *engine.tokenizer;
  nlohmann::json warnings = nlohmann::json::array();
  if (truncated_ > 0) {
    warnings.push_back(
        fmt::format("{} of {} prompts were cut at the front to fit the context of {}", truncated_,
                    items_.size(), engine.model->context));
  }
  if (!parameters_["chat"].get<bool>() && !tokenizer.chat_template().empty()) {
    warnings.push_back("the model has a chat template that is not used ('chat' is off)");
  }
  preflight_ = {{"tokenizer", tokenizer.kind()},    {"tokenizer_hash", tokenizer.hash()},
                {"adds_bos", tokenizer.adds_bos()}, {"chat", parameters_["chat"]},
                {"prompt_hash", hash.hex()},        {"longest_prompt_tokens", longest},
                {"truncated", truncated_},          {"warnings", warnings}};
  return {};
}

Status GenerationTask::run(const Engine& engine, const std::set<std::string>& done,
                           const SampleSink& sink) {
  std::vector<const Item*> waiting;
  std::vector<Request> requests;
  for (const Item& item : items_) {
    if (done.count(item.id)) continue;
    waiting.push_back(&item);
    requests.push_back(item.request);
  }
  GenerateOptions options;
  options.max_batch = integer("batch");
  Status written;
  LATHE_OK(generate(engine, requests, options, [&](size_t index, const Completion& completion) {
    const Item& item = *waiting[index];
    Sample sample = score(item, completion.text);
    sample.id = item.id;
    sample.detail["prompt"] = item.prompt;
    sample.detail["prediction"] = completion.text;
    sample.detail["gold"] = item.gold;
    sample.detail["finish"] = completion.finish;
    written = sink(std::move(sample));
    return written.ok();
  }));
  return written;
}

}  // namespace lathe
