#include "lathe/eval/preflight.h"

#include <algorithm>

#include "lathe/base/hash.h"

namespace lathe {
namespace {

std::string shown(const Tokenizer& tokenizer, const std::optional<TokenId>& id) {
  return id ? fmt::format("{} ({})", tokenizer.token_of(*id), *id) : "none";
}

}  // namespace

Preflight::Preflight(const Engine& engine, bool chat) : engine_(engine), chat_(chat) {
  const Tokenizer& tokenizer = *engine.tokenizer;
  const std::string& chat_template = tokenizer.chat_template();
  facts_ = {{"tokenizer", tokenizer.kind()},
            {"tokenizer_hash", tokenizer.hash()},
            {"bos", shown(tokenizer, tokenizer.bos())},
            {"eos", shown(tokenizer, tokenizer.eos())},
            {"adds_bos", tokenizer.adds_bos()},
            {"chat", chat},
            {"chat_template", chat_template.empty() ? "none" : sha256_hex(chat_template)},
            {"context", engine.model->context},
            {"context_of_model", engine.model->config.max_positions}};
  check_special_tokens();
  if (!chat && !chat_template.empty()) {
    warn("the model has a chat template that is not used ('chat' is off)");
  }
  const int64_t positions = engine.model->config.max_positions;
  if (positions > 0 && engine.model->context > positions) {
    warn(fmt::format("a context of {} is longer than the {} positions the model was made for",
                     engine.model->context, positions));
  }
}

void Preflight::check_special_tokens() {
  const Tokenizer& tokenizer = *engine_.tokenizer;
  const ModelConfig& config = engine_.model->config;
  const auto bos = tokenizer.bos();
  if (bos && config.bos >= 0 && config.bos != *bos) {
    warn(fmt::format("the model's BOS is token {}, the tokenizer's is {}", config.bos,
                     shown(tokenizer, bos)));
  } else if (bos && config.bos == *bos && !tokenizer.adds_bos() && !chat_) {
    warn(fmt::format("the model names a BOS token, {}, that its tokenizer does not put first",
                     shown(tokenizer, bos)));
  }
  // Gemma was trained with BOS throughout, and falls apart without.
  if (config.family.starts_with("gemma") && !tokenizer.adds_bos() && !chat_) {
    warn("Gemma models need BOS, and the tokenizer does not add it: scores will be far too low");
  }
  const auto eos = tokenizer.eos();
  if (eos && !config.eos.empty() &&
      std::find(config.eos.begin(), config.eos.end(), *eos) == config.eos.end()) {
    warn(fmt::format("the tokenizer's EOS, {}, is not one of the model's", shown(tokenizer, eos)));
  }
}

void Preflight::prompt(const std::vector<TokenId>& ids, bool truncated) {
  ++prompts_;
  truncated_ += truncated ? 1 : 0;
  longest_ = std::max(longest_, std::ssize(ids));
  const auto bos = engine_.tokenizer->bos();
  if (chat_ && bos && engine_.tokenizer->adds_bos() && (ids.empty() || ids[0] != *bos)) {
    ++without_bos_;
  }
  if (bos && ids.size() > 1 && ids[0] == *bos && ids[1] == *bos) ++double_bos_;
  Sha256 hash;
  hash.update(std::string_view(hashed_));
  hash.update({reinterpret_cast<const uint8_t*>(ids.data()), ids.size() * sizeof(TokenId)});
  hashed_ = hash.hex();
}

nlohmann::json Preflight::report() const {
  nlohmann::json out = facts_;
  auto warnings = warnings_;
  if (prompts_ > 0) {
    out["prompts"] = prompts_;
    out["prompt_hash"] = hashed_;
    out["longest_prompt_tokens"] = longest_;
    out["truncated"] = truncated_;
  }
  const auto count = [&](int64_t n, const std::string& what) {
    if (n > 0) warnings.push_back(fmt::format("{} of {} prompts {}", n, prompts_, what));
  };
  count(truncated_,
        fmt::format("were cut at the front to fit the context of {}", engine_.model->context));
  count(without_bos_, "do not begin with BOS: the chat template leaves it out");
  count(double_bos_, "begin with BOS twice");
  out["warnings"] = warnings;
  return out;
}

}  // namespace lathe
