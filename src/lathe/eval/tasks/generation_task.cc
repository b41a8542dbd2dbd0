#include "lathe/eval/tasks/generation_task.h"

#include "lathe/base/parse_json.h"
#include "lathe/eval/coherence.h"
#include "lathe/eval/tasks/prompt.h"

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

Result<bool> GenerationTask::encode(const Engine& engine, Item& item) const {
  const Tokenizer& tokenizer = *engine.tokenizer;
  const bool chat = parameters_["chat"].get<bool>();
  std::string prompt = item.prompt;
  if (chat) {
    LATHE_TRY_IN(prompt, chat_prompt(tokenizer, item.prompt), fmt::format("task '{}'", name_));
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
  if (length <= room) return false;
  const int64_t kept_bos = tokenizer.adds_bos() && !chat ? 1 : 0;
  request.prompt.erase(request.prompt.begin() + kept_bos,
                       request.prompt.begin() + kept_bos + (length - room));
  return true;
}

std::vector<MetricDef> GenerationTask::metrics() const {
  std::vector<MetricDef> out = scored_metrics();
  if (encoder().empty()) return out;
  for (const auto& [row, answer] : compared("")) out.push_back(coherence_row(row));
  return out;
}

std::vector<std::string> GenerationTask::judge_files() const {
  return encoder().empty() ? std::vector<std::string>() : encoder_files(encoder());
}

Status GenerationTask::judge(std::span<Sample> samples, Ops& ops, nlohmann::json& preflight) const {
  if (encoder().empty() || samples.empty()) return {};
  LATHE_TRY(const auto files, find_encoder(encoder()));
  if (!files) return {};  // said by prepare()
  std::vector<ComparedTexts> texts;
  for (Sample& sample : samples) {
    const auto text_of = [&](const char* key) { return member_or(sample.detail, key, ""); };
    const std::string own = text_of("own_prompt");
    for (auto& [row, answer] : compared(text_of("prediction"))) {
      texts.push_back({&sample, row, own.empty() ? text_of("prompt") : own, answer});
    }
  }
  LATHE_TRY(const nlohmann::json facts, score_coherence(*files, ops, texts));
  const auto warn = [&](const char* key, const char* what) {
    const auto count = facts[key].get<int64_t>();
    if (count == 0) return;
    preflight["warnings"].push_back(fmt::format(
        "coherence takes the beginning of {} of {} {}, which are longer than the encoder's "
        "{} tokens",
        count, texts.size(), what, files->max_tokens));
  };
  warn("prompts_cut", "prompts");
  warn("answers_cut", "answers");
  preflight["coherence"] = facts;
  return {};
}

// Refuses an encoder that cannot be used before anything is generated.
Status GenerationTask::check_encoder(Preflight& preflight) const {
  if (encoder().empty()) return {};
  LATHE_TRY_IN(const auto files, find_encoder(encoder()), fmt::format("task '{}'", name_));
  if (files) return {};
  nlohmann::json left_out = nlohmann::json::object();
  for (const auto& [row, answer] : compared("")) {
    left_out[row] = no_encoder();
    preflight.warn(fmt::format("{} is left out: {}", row, no_encoder()));
  }
  preflight.set("left_out", left_out);
  return {};
}

Status GenerationTask::prepare(const Engine& engine) {
  LATHE_TRY_IN(items_, load(), fmt::format("task '{}'", name_));
  Preflight preflight(engine, parameters_["chat"].get<bool>());
  for (Item& item : items_) {
    LATHE_TRY(const bool truncated, encode(engine, item));
    preflight.prompt(item.request.prompt, truncated);
  }
  add_facts(preflight);
  LATHE_OK(check_encoder(preflight));
  preflight_ = preflight.report();
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
    if (!item.own_prompt.empty() && !encoder().empty()) {
      sample.detail["own_prompt"] = item.own_prompt;
    }
    sample.detail["prediction"] = completion.text;
    sample.detail["gold"] = item.gold;
    sample.detail["finish"] = completion.finish;
    written = sink(std::move(sample));
    return written.ok();
  }));
  return written;
}

}  // namespace lathe
